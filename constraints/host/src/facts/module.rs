//! Kernel modules: loaded, built in, or neither. No probe loads one.

use super::Answer;
use super::system::{System, text, why};

/// Returns whether a module is loaded, built in, or could be loaded.
pub(super) fn answer(name: &str, system: &dyn System) -> Answer {
    let name = name.replace('-', "_");
    let sys = format!("/sys/module/{name}");
    let loaded = system.exists(&sys);
    if let Ok(true) = loaded {
        return Answer::is("loaded", sys);
    }
    let release = match system.uname() {
        Ok(uname) => uname.release,
        Err(error) => return Answer::unknown(why(&error), "uname"),
    };
    let builtin = format!("/lib/modules/{release}/modules.builtin");
    let listed = match system.read(&builtin) {
        Ok(list) if lists(&String::from_utf8_lossy(&list), &name) => {
            return Answer::is("built in", builtin);
        }
        Ok(_) => Ok(()),
        Err(error) => Err(why(&error)),
    };
    if let Err(error) = loaded {
        return Answer::unknown(format!("lookup failed: {}", why(&error)), sys);
    }
    if !system.exists("/sys/module").unwrap_or(false) {
        return Answer::unknown("there is no /sys/module", "/sys/module");
    }
    // A built-in module without parameters is not in /sys/module.
    if let Err(problem) = listed {
        let text = format!(
            "not loaded, and {builtin}, which lists built-in modules, cannot be read: \
             {problem}"
        );
        return Answer::unknown(text, sys);
    }
    let dep = format!("/lib/modules/{release}/modules.dep");
    match text(system, &dep) {
        Ok(list) if lists(&list, &name) => Answer::absent(
            format!("installed but not loaded; run modprobe {name}"),
            dep,
        ),
        _ => Answer::absent("neither loaded nor built in", sys),
    }
}

/// Returns whether a list has the module's file: `kernel/drivers/vhost/vhost_net.ko.xz: …`.
fn lists(list: &str, name: &str) -> bool {
    list.lines().any(|line| {
        let path = line.split(':').next().unwrap_or(line);
        let file = path.rsplit('/').next().unwrap_or(path);
        let stem = file.split(".ko").next().unwrap_or(file);
        stem.replace('-', "_") == name
    })
}

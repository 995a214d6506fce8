//! Kernel modules: loaded, built in, or neither. No probe loads one.

use super::Answer;
use super::system::{System, text, uname, why};

/// Returns whether a module is loaded, built in, or could be loaded.
pub(super) fn answer(name: &str, system: &dyn System) -> Result<Answer, Answer> {
    let name = name.replace('-', "_");
    let sys = format!("/sys/module/{name}");
    let loaded = system.exists(&sys);
    if let Ok(true) = loaded {
        return Ok(Answer::is("loaded", sys));
    }
    let release = uname(system)?.release;
    let builtin = format!("/lib/modules/{release}/modules.builtin");
    let listed = match system.read(&builtin) {
        Ok(list) if lists(&String::from_utf8_lossy(&list), &name) => {
            return Ok(Answer::is("built in", builtin));
        }
        Ok(_) => Ok(()),
        Err(error) => Err(why(&error)),
    };
    if let Err(error) = loaded {
        let problem = format!("lookup failed: {}", why(&error));
        return Err(Answer::unknown(problem, sys));
    }
    if !system.exists("/sys/module").unwrap_or(false) {
        return Err(Answer::unknown("there is no /sys/module", "/sys/module"));
    }
    // A built-in module without parameters is not in /sys/module.
    if let Err(problem) = listed {
        let text = format!(
            "not loaded, and {builtin}, which lists built-in modules, cannot be read: \
             {problem}"
        );
        return Err(Answer::unknown(text, sys));
    }
    let dep = format!("/lib/modules/{release}/modules.dep");
    Ok(match text(system, &dep) {
        Ok(list) if lists(&list, &name) => Answer::absent(
            format!("installed but not loaded; run modprobe {name}"),
            dep,
        ),
        _ => Answer::absent("neither loaded nor built in", sys),
    })
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

//! modprobe(8), which the kernel runs to load modules, and which tests may run:
//! `modprobe NAME [PARAMETER=VALUE…]`, `modprobe -a NAME…` and `modprobe -r NAME…`, with names from
//! `modules.dep` and aliases from `modules.alias`.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nix::errno::Errno;
use nix::kmod::{DeleteModuleFlags, ModuleInitFlags, delete_module, finit_module};
use nix::sys::utsname::uname;

/// Returns the arguments if this program was started as `modprobe`.
pub(crate) fn arguments(mut all: impl Iterator<Item = String>) -> Option<Vec<String>> {
    let name = all.next()?;
    let is_modprobe = Path::new(&name).file_name()? == "modprobe";
    is_modprobe.then(|| all.collect())
}

/// Loads or removes modules. Prints each failure, and then returns exit code 1.
pub(crate) fn main(arguments: &[String]) -> ExitCode {
    let options = Options::parse(arguments);
    let tree = match Tree::of_this_kernel() {
        Ok(tree) => tree,
        Err(error) => {
            eprintln!("modprobe: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut code = ExitCode::SUCCESS;
    for name in options.names {
        let done = match options.remove {
            true => remove(name),
            false => tree.load(name, &options.parameters),
        };
        if let Err(error) = done {
            if !options.quiet {
                eprintln!("modprobe: {name}: {error}");
            }
            code = ExitCode::FAILURE;
        }
    }
    code
}

/// The parsed command line.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options<'a> {
    names: &'a [String],
    /// The parameters of the module itself, not of its dependencies.
    parameters: String,
    remove: bool,
    quiet: bool,
}

impl<'a> Options<'a> {
    fn parse(arguments: &'a [String]) -> Self {
        let is_option = |argument: &&String| argument.starts_with('-') && *argument != "--";
        let options = arguments.iter().take_while(is_option);
        let words = &arguments[options.clone().count()..];
        let words = match words {
            [dashes, rest @ ..] if dashes == "--" => rest,
            words => words,
        };
        let has = |short: char, long: &str| {
            options
                .clone()
                .any(|option| match option.strip_prefix("--") {
                    Some(name) => name == long,
                    None => option.contains(short),
                })
        };
        let remove = has('r', "remove");
        let all = remove || has('a', "all");
        let (names, parameters) =
            words.split_at(if all { words.len() } else { words.len().min(1) });
        Self {
            names,
            parameters: parameters.join(" "),
            remove,
            quiet: has('q', "quiet"),
        }
    }
}

/// The modules of a kernel, from the files that depmod(8) writes.
pub(crate) struct Tree {
    folder: PathBuf,
    /// Each module's file, followed by those of its dependencies.
    files: BTreeMap<String, Vec<String>>,
    aliases: Vec<(String, String)>,
    built_in: Vec<String>,
}

impl Tree {
    pub(crate) fn of_this_kernel() -> io::Result<Self> {
        let release = uname()?.release().to_string_lossy().into_owned();
        Self::read(&Path::new("/lib/modules").join(release))
    }

    fn read(folder: &Path) -> io::Result<Self> {
        let text = |name: &str| {
            let path = folder.join(name);
            let named = |error: io::Error| {
                io::Error::new(error.kind(), format!("{}: {error}", path.display()))
            };
            fs::read_to_string(&path).map_err(named)
        };
        let dep = text("modules.dep")?;
        let files = dep.lines().filter_map(|line| {
            let (file, needs) = line.split_once(':')?;
            let files = std::iter::once(file).chain(needs.split_whitespace());
            Some((name_of(file), files.map(str::to_owned).collect()))
        });
        let alias = text("modules.alias")?;
        let aliases = alias.lines().filter_map(|line| {
            let mut words = line.strip_prefix("alias ")?.split_whitespace();
            Some((words.next()?.to_owned(), words.next()?.to_owned()))
        });
        let built_in = text("modules.builtin")?;
        Ok(Self {
            folder: folder.to_owned(),
            files: files.collect(),
            aliases: aliases.collect(),
            built_in: built_in.lines().map(name_of).collect(),
        })
    }

    /// Loads a module by name or alias, after its dependencies.
    pub(crate) fn load(&self, module: &str, parameters: &str) -> io::Result<()> {
        let name = module.replace('-', "_");
        if self.built_in.contains(&name) {
            return Ok(());
        }
        let by_alias = || {
            let matching = |(pattern, _): &&(String, String)| matches(pattern, module);
            let (_, target) = self.aliases.iter().find(matching)?;
            self.files.get(&target.replace('-', "_"))
        };
        let files = self.files.get(&name).or_else(by_alias);
        let files = files.ok_or_else(|| io::Error::other("this kernel has no such module"))?;
        // The module is first in the list and last to be loaded.
        for (index, file) in files.iter().enumerate().rev() {
            let parameters = if index == 0 { parameters } else { "" };
            insert(&self.folder.join(file), parameters)?;
        }
        Ok(())
    }
}

fn remove(name: &str) -> io::Result<()> {
    let name = CString::new(name.replace('-', "_"))?;
    Ok(delete_module(&name, DeleteModuleFlags::O_NONBLOCK)?)
}

fn insert(path: &Path, parameters: &str) -> io::Result<()> {
    let file = File::open(path)?;
    let parameters = CString::new(parameters)?;
    match finit_module(&file, &parameters, ModuleInitFlags::empty()) {
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(errno) => Err(io::Error::other(format!("{}: {errno}", path.display()))),
    }
}

/// Returns the module's name: `dummy` for `kernel/drivers/net/dummy.ko`.
fn name_of(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split(".ko").next().unwrap_or(file).replace('-', "_")
}

/// Returns whether a text matches a pattern of `modules.alias`: `*` is any text, `?` any character, and
/// `[a-c]` one of these characters.
fn matches(pattern: &str, text: &str) -> bool {
    let mut rest = pattern.chars();
    let Some(first) = rest.next() else {
        return text.is_empty();
    };
    let mut inner = text.chars();
    match first {
        '*' => {
            let tails = text.char_indices().map(|(at, _)| at).chain([text.len()]);
            tails
                .into_iter()
                .any(|at| matches(rest.as_str(), &text[at..]))
        }
        '[' => {
            let Some((class, behind)) = rest.as_str().split_once(']') else {
                return false;
            };
            inner.next().is_some_and(|c| in_class(class, c)) && matches(behind, inner.as_str())
        }
        '?' => inner.next().is_some() && matches(rest.as_str(), inner.as_str()),
        plain => inner.next() == Some(plain) && matches(rest.as_str(), inner.as_str()),
    }
}

fn in_class(class: &str, c: char) -> bool {
    let class: Vec<char> = class.chars().collect();
    let mut index = 0;
    while index < class.len() {
        if class.get(index + 1) == Some(&'-') && index + 2 < class.len() {
            if (class[index]..=class[index + 2]).contains(&c) {
                return true;
            }
            index += 3;
        } else {
            if class[index] == c {
                return true;
            }
            index += 1;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_recognized_by_its_name() {
        let parsed = |all: &[&str]| arguments(all.iter().map(|&text| text.to_owned()));
        assert_eq!(parsed(&["/init"]), None);
        let expected = Some(vec!["-q".to_owned(), "--".to_owned(), "dummy".to_owned()]);
        assert_eq!(parsed(&["/sbin/modprobe", "-q", "--", "dummy"]), expected);
    }

    #[test]
    fn one_name_takes_parameters_and_options_take_several_names() {
        let parsed = |text: &str| {
            let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
            let options = Options::parse(&words);
            let names = options.names.join(" ");
            (names, options.parameters, options.remove, options.quiet)
        };
        let expected = |names: &str, parameters: &str, remove, quiet| {
            (names.to_owned(), parameters.to_owned(), remove, quiet)
        };
        assert_eq!(
            parsed("-q -- fs-ext4"),
            expected("fs-ext4", "", false, true)
        );
        assert_eq!(
            parsed("brd rd_nr=1 x"),
            expected("brd", "rd_nr=1 x", false, false)
        );
        assert_eq!(parsed("-qa tun brd"), expected("tun brd", "", false, true));
        assert_eq!(
            parsed("--remove tun brd"),
            expected("tun brd", "", true, false)
        );
        assert_eq!(parsed(""), expected("", "", false, false));
    }

    #[test]
    fn patterns_match_as_in_a_shell() {
        for (pattern, text, expected) in [
            ("fs-overlay", "fs-overlay", true),
            ("fs-overlay", "fs-overlayfs", false),
            (
                "pci:v00001AF4d*sv*",
                "pci:v00001AF4d00001000sv00001AF4",
                true,
            ),
            (
                "cpu:type:x86,*feature:*0081*",
                "cpu:type:x86,ven0feature:,0080,0081,",
                true,
            ),
            ("usb:v[0-2A]x?", "usb:vAxy", true),
            ("usb:v[0-2A]x?", "usb:v3xy", false),
            ("a*", "", false),
            ("*", "", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_tree_is_read_with_its_aliases() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("modules.dep", "kernel/a-b.ko: kernel/c.ko\nkernel/c.ko:\n"),
            ("modules.alias", "# comment\nalias fs-a a_b\n"),
            ("modules.builtin", "kernel/fs/ext4/ext4.ko\n"),
        ] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let tree = Tree::read(folder.path()).unwrap();
        tree.load("ext4", "").unwrap();
        let error = tree.load("nothing", "").unwrap_err().to_string();
        assert!(error.contains("no such module"), "{error}");
        // Its dependency is loaded first.
        let error = tree.load("fs-a", "a=1").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert_eq!(tree.files["a_b"], ["kernel/a-b.ko", "kernel/c.ko"]);
    }
}

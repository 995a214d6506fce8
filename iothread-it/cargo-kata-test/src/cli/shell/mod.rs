//! `cargo kata-test shell`: a shell in a place, or in the guest of a failed test; and a debugger for a test.

mod find;
mod gdb;
mod socket_folder;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail, ensure};
use guest_vm::artifacts::{Store, WorkFolder};
use kata_test_runner::{Fit, Place, ProcessEnd, Session};

use super::build::Build;
use super::run::{
    Attached, Folders, PlaceOptions, Prepare, attach, attach_in, end_of, exit_code, take_over,
};
use super::store;
use crate::place::SavedTest;
use find::Test;

/// What the name of a place has in addition if its kernel is that for all machines.
const GENERIC: &str = "+generic";

/// The shell, which a guest has from this host.
const SHELL: &str = "/bin/sh";

const HELP: &str = "\
Without TEST, the shell is in the current directory, as of `cargo kata-test run --place PLACE /bin/sh`.

With TEST, it is in the guest that `cargo kata-test test --save-guests` has saved when that test failed: what the
test wrote, loaded and configured is there, while its processes have ended and mounts of its own are gone. Any
number of shells can be started in a saved guest; each begins with its state then. If none was saved, and with
`--gdb`, the place's guest is a new one with the test's binary, environment and files.

The exit status is that of the shell, or 125 if it cannot be started.";

/// Options of the command.
#[derive(Clone, clap::Args)]
#[command(after_help = HELP)]
pub struct Options {
    #[command(flatten)]
    there: PlaceOptions,

    /// The whole name of a test, or `BINARY_ID TEST` if several have that name.
    #[arg(value_name = "TEST")]
    named: Option<String>,

    /// Runs the test under gdbserver in the place, and prints the command that connects gdb. Here, runs gdb.
    #[arg(long, requires = "named")]
    gdb: bool,

    /// Has QEMU serve gdb for the guest's kernel, and prints the command that connects gdb. FILE is the kernel with
    /// symbols: `vmlinux` of its build, or of a distribution's package with debugging information.
    #[arg(long, value_name = "FILE")]
    kernel_symbols: Option<PathBuf>,

    #[command(flatten)]
    build: Build,
}

/// Runs the command.
#[must_use]
pub fn run(options: &Options) -> ExitCode {
    exit_code(try_run(options))
}

fn try_run(options: &Options) -> Result<ProcessEnd> {
    let offline = options.build.is_offline();
    let symbols = options.kernel_symbols.as_deref();
    ensure!(
        symbols.is_none() || !options.there.is_here(),
        "the kernel of this host cannot be debugged: use a VM"
    );
    let socket = symbols.map(gdb::KernelSocket::new).transpose()?;
    let prepare = |session: &mut dyn Session| match &socket {
        Some(socket) => socket.serve(session),
        None => Ok(()),
    };
    match &options.named {
        None => end_of(&options.there, offline, &[SHELL.into()], &prepare),
        Some(name) => of_test(options, name, &prepare),
    }
}

fn of_test(options: &Options, name: &str, prepare: &Prepare<'_>) -> Result<ProcessEnd> {
    let workspace = options.build.workspace()?;
    let store = store::open(options.build.is_offline())?;
    let work = WorkFolder::in_target(&workspace.target);
    let there = &options.there;
    if !options.gdb
        && let Some(saved) = saved(there, &store, &work, name)?
    {
        ensure!(
            !there.has_further_programs(),
            "the guest of {name} was saved without further programs: leave out `--with`"
        );
        let session = saved.restore(&store, &work, there.stated_user());
        let mut session = session.with_context(|| {
            let (binary, test) = saved.test();
            format!("cannot restore the guest of {binary} {test}; `cargo kata-test cache clear guests` removes it")
        })?;
        return attach_in(
            session.as_mut(),
            &shell(&saved.description.directory, prepare),
        );
    }
    if there.place.is_none() && !there.has_kernel() {
        match options.gdb {
            true => bail!("name the place for {name} by `--place`, which may be `here`"),
            false => bail!(
                "no guest of {name} was saved: run `cargo kata-test test --save-guests {name}`, or name a \
                 place by `--place` for a shell beside that test"
            ),
        }
    }
    let mut test = Test::find(&workspace, &options.build, name, there.harness_user())?;
    test.binary.programs.extend(there.further_programs()?);
    let user = there.user(test.user)?;
    if options.gdb {
        return gdb::run(options, &workspace, &store, &test, (user, prepare));
    }
    let binary = &test.binary;
    if there.is_here() {
        return Err(take_over(binary.command(Path::new(SHELL)), user));
    }
    let folders = Folders {
        root: &workspace.root,
        target: Some(workspace.target.clone()),
    };
    let mut place = open_for(options, &test, &folders)?;
    attach(
        place.as_mut(),
        binary,
        user,
        &shell(&binary.folder, prepare),
    )
}

/// Provides the place, or the variant of it that is for the test.
fn open_for(options: &Options, test: &Test, folders: &Folders<'_>) -> Result<Box<dyn Place>> {
    let offline = options.build.is_offline();
    let place = options.there.open(&test.config, folders, offline)?;
    let fit = place.fit(&test.demand);
    if let Fit::Lacks(reason) = &fit {
        eprintln!("{}: {reason}", place.name());
    }
    Ok(match fit {
        Fit::ForOthers => place.variants(&[&test.demand]).pop().unwrap_or(place),
        Fit::Fits | Fit::Lacks(_) => place,
    })
}

fn shell<'a>(directory: &'a Path, prepare: &'a Prepare<'a>) -> Attached<'a> {
    Attached {
        program: Some(Path::new(SHELL)),
        arguments: &[],
        directory,
        streams: None,
        prepare,
    }
}

/// Finds the guest of a test that the last run with such a test has saved, in the place if one is named.
fn saved(
    there: &PlaceOptions,
    store: &Store,
    work: &WorkFolder,
    name: &str,
) -> Result<Option<SavedTest>> {
    let mut found = SavedTest::find_all(store, work)?;
    found.retain(|saved| {
        let (binary, test) = saved.test();
        let is_named = test == name || format!("{binary} {test}") == name;
        let is_there = there
            .place
            .as_ref()
            .is_none_or(|place| is_variant(&saved.description.place, place));
        is_named && is_there && !there.has_kernel() && !there.has_network()
    });
    let Some(run) = found.first().map(|saved| saved.description.run.clone()) else {
        return Ok(None);
    };
    found.retain(|saved| saved.description.run == run);
    let is_named = |saved: &SavedTest| there.place.as_ref() == Some(&saved.description.place);
    if found.iter().any(is_named) {
        found.retain(is_named);
    }
    let newest = &found[0];
    let others = |differs: &dyn Fn(&SavedTest) -> bool, list: &dyn Fn(&SavedTest) -> String| {
        let mut names: Vec<String> = found.iter().map(list).collect();
        names.sort();
        names.dedup();
        found.iter().any(differs).then(|| names.join(", "))
    };
    let whole = |saved: &SavedTest| format!("`{} {}`", saved.test().0, saved.test().1);
    if let Some(names) = others(&|saved| saved.test() != newest.test(), &whole) {
        bail!("several tests have the name {name}: {names}");
    }
    let place = |saved: &SavedTest| saved.description.place.clone();
    if let Some(places) = others(&|saved| place(saved) != place(newest), &place) {
        bail!("guests of {name} were saved in several places: choose one of {places} by `--place`");
    }
    Ok(Some(found.swap_remove(0)))
}

/// Returns whether a place has this name, or is a variant of the one that has.
fn is_variant(place: &str, name: &str) -> bool {
    let rest = place.strip_prefix(name);
    rest.is_some_and(|rest| {
        let is_other_kernel = rest == GENERIC || rest.starts_with(&format!("{GENERIC}+"));
        rest.is_empty() || rest.starts_with('+') && !is_other_kernel
    })
}

#[cfg(test)]
mod tests {
    use super::is_variant;

    #[test]
    fn a_variant_has_the_name_of_its_place_and_more() {
        for of_bookworm in ["vm:bookworm", "vm:bookworm+2nodes", "vm:bookworm+kvm+8cpus"] {
            assert!(is_variant(of_bookworm, "vm:bookworm"), "{of_bookworm}");
        }
        let others = [
            "vm:bookworm+generic",
            "vm:bookworm+generic+2nodes",
            "vm:bookworm2",
            "vm:trixie",
        ];
        for other in others {
            assert!(!is_variant(other, "vm:bookworm"), "{other}");
        }
        assert!(is_variant("vm:6.1+generic+2nodes", "vm:6.1+generic"));
    }
}

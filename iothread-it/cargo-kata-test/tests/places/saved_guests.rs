//! A way into the guest of a failed test: a shell in it, and a debugger for a test.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use guest_vm::artifacts::Store;
use guest_vm::scratch::ScratchDir;
use kata_test::kata_test;
use kata_test_runner::Outcome;
use serde_json::Value;

use crate::a_terminal::Terminal;
use crate::commands::{in_package, outcomes, target};
use crate::outcome;
use crate::scratch_package::scratch_package;

/// What both binaries have.
const BODIES: &str = r#"
use std::fs;

/// Leaves files and changes the state of the kernel, and fails.
fn fails(name: &str) {
    fs::write(std::env::temp_dir().join("left"), format!("left by {name}")).unwrap();
    fs::write("in-package", name).unwrap();
    fs::write("/proc/sys/kernel/hostname", name).unwrap();
    panic!("as it should");
}

#[inline(never)]
fn stops_here(number: u32) {
    println!("number {number}");
}
"#;

const ANNOTATED: &str = r#"
use kata_test::kata_test;
#[kata_test(root, kernel_lt = "6.2")] fn annotated_fails() { fails("annotated") }
#[kata_test(root, kernel_lt = "6.2")] fn both() { fails("both") }
#[kata_test(root, kernel_lt = "6.2")] fn annotated_passes() { stops_here(40 + 2) }
kata_test::main!();
"#;

const PLAIN: &str = "
#[test] fn plain_fails() { fails(\"plain\") }
#[test] fn both() { fails(\"both\") }
#[test] fn plain_passes() { stops_here(40 + 3) }
";

const CONFIG: &str = r#"
[[tests]]
filter = 'all()'
user = 'root'
[requirements]
'all()' = 'kernel_lt = "6.2"'
"#;

fn package() -> Result<ScratchDir> {
    scratch_package(&[
        ("tests/annotated.rs", &[BODIES, ANNOTATED].concat()),
        ("tests/plain.rs", &[BODIES, PLAIN].concat()),
        (".config/kata-test.toml", CONFIG),
        (".cargo/config.toml", "[profile.dev]\ndebug = 2\n"),
    ])
}

fn command(package: &Path, arguments: &[&str]) -> Result<Command> {
    let mut command = in_package(env!("CARGO_BIN_EXE_cargo-kata-test"), package)?;
    command
        .env_remove("LD_LIBRARY_PATH")
        // The package has its own.
        .env_remove("CARGO_PROFILE_DEV_DEBUG")
        .arg("kata-test")
        .args(arguments);
    Ok(command)
}

fn ends(package: &ScratchDir, arguments: &[&str]) -> Result<(Option<i32>, String)> {
    let ended = command(package.path(), arguments)?.output()?;
    let text = [ended.stdout, ended.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    println!("{text}");
    Ok((ended.status.code(), text))
}

#[kata_test(
    when = crate::artifacts_provided,
    command = "setsid",
    serial = "places-packages",
    timeout = "15m"
)]
fn a_shell_is_in_the_guest_of_a_failed_test() -> Result<()> {
    let package = package()?;
    let places = ["--places", "vm:bookworm"];
    let test = [&["test", "--save-guests=3"], &places[..]].concat();
    let (code, _) = ends(&package, &test)?;
    assert_eq!(code, Some(1));
    let found = outcomes()?;
    for test in ["annotated_fails", "plain_fails"] {
        assert_eq!(outcome(&found, test).outcome, Outcome::Failed);
    }
    for test in ["annotated_passes", "plain_passes"] {
        assert_eq!(outcome(&found, test).outcome, Outcome::Passed);
    }

    for name in ["annotated", "plain"] {
        // Twice: a shell does not change what was saved.
        for _ in 0..2 {
            let mut shell = command(package.path(), &["shell", &format!("{name}_fails")])?;
            shell.env("PS1", "guest$ ");
            let (mut terminal, _program, mut shell) = Terminal::start(&shell)?;
            for (line, answer) in [
                ("echo =$(cat $TMPDIR/left)=", format!("=left by {name}=")),
                ("echo =$(cat in-package)=", format!("={name}=")),
                ("echo =$(uname -n)=", format!("={name}=")),
                ("echo =$(uname -r)=", "-cloud-amd64=".to_owned()),
                ("echo =$(id -un)=", "=root=".to_owned()),
                ("echo =$KATA_TEST_SCRATCH_DISK=", "=/dev/vda=".to_owned()),
                ("head -c 4 $KATA_TEST_SCRATCH_DISK | wc -c", "4".to_owned()),
                ("echo x >$TMPDIR/left; stty size", "33 99".to_owned()),
            ] {
                terminal.types(&format!("{line}\n"))?;
                terminal.shows(&answer)?;
            }
            terminal.types("exit 7\n")?;
            assert_eq!(shell.wait()?.code(), Some(7));
        }
    }

    let place = "vm:bookworm";
    is_refused(
        &package,
        place,
        &|guest| guest["place"] = "vm:other".into(),
        &[
            "guests of annotated_fails were saved in several places: choose one of vm:bookworm, vm:other",
        ],
    )?;
    let greeting = |guest: &mut Value| guest["guest"]["greeting"]["protocol"] = 1.into();
    is_refused(
        &package,
        place,
        &greeting,
        &[
            "cannot restore the guest of scratch::annotated annotated_fails; `cargo kata-test cache clear guests`",
            "saved by another version of this program (protocol 1,",
        ],
    )?;
    let kernel = |guest: &mut Value| {
        let gone = "/nonexistent/vmlinux";
        guest["artifacts"]["manifest"]["guest"]["vmlinux"] = gone.into();
    };
    is_refused(
        &package,
        place,
        &kernel,
        &[
            "cannot restore",
            "a file that the saved guest needs (kernel, boot image or template) cannot be read",
        ],
    )?;

    let (code, text) = ends(&package, &["shell", "plain_passes"])?;
    assert_eq!(code, Some(125));
    assert!(
        text.contains("no guest of plain_passes was saved"),
        "{text}"
    );
    // One of both was the last of three.
    let (code, text) = ends(&package, &["shell", "--place", "vm:6.1", "both"])?;
    assert_eq!(code, Some(125));
    let expected =
        "several tests have the name both: `scratch::plain both`, `scratch::annotated both`";
    assert!(text.contains(expected), "{text}");

    // Guests go with their run.
    let run = fs::canonicalize(target()?.join("kata-test/latest"))?;
    let id = run
        .file_name()
        .context("no run")?
        .to_string_lossy()
        .into_owned();
    let saved = || -> Result<usize> {
        let guests = fs::read_dir(Store::of_user()?.guests())?.flatten();
        let is_of_run = |name: OsString| name.to_string_lossy().starts_with(&id);
        Ok(guests.filter(|guest| is_of_run(guest.file_name())).count())
    };
    assert_eq!(saved()?, 3);
    fs::remove_dir_all(run)?;
    let (code, _) = ends(&package, &["shell", "annotated_fails"])?;
    assert_eq!((code, saved()?), (Some(125), 0));
    Ok(())
}

/// Adds a description of a newer guest that differs, and checks that no shell starts.
fn is_refused(
    package: &ScratchDir,
    place: &str,
    change: &dyn Fn(&mut Value),
    expected: &[&str],
) -> Result<()> {
    let guests = Store::of_user()?.guests();
    let described = |entry: &Path| -> Result<Value> {
        Ok(serde_json::from_slice(&fs::read(
            entry.join("guest.json"),
        )?)?)
    };
    let entries = fs::read_dir(&guests)?.flatten().map(|entry| entry.path());
    let run = fs::canonicalize(target()?.join("kata-test/latest"))?;
    let is_it = |entry: &PathBuf| {
        described(entry).is_ok_and(|guest| {
            guest["test"] == "annotated_fails" && guest["run"] == *run.to_string_lossy()
        })
    };
    let entry = entries.into_iter().find(is_it).context("no guest")?;
    let mut guest = described(&entry)?;
    assert_eq!(guest["place"], place);
    change(&mut guest);
    let newer = entry.with_extension("newer");
    fs::create_dir(&newer)?;
    for file in ["state", "disk", "package", "files"] {
        fs::hard_link(entry.join(file), newer.join(file))?;
    }
    fs::write(newer.join("guest.json"), guest.to_string())?;
    let (code, text) = ends(package, &["shell", "annotated_fails"])?;
    fs::remove_dir_all(&newer)?;
    assert_eq!(code, Some(125));
    for part in expected {
        assert!(text.contains(part), "{text}");
    }
    Ok(())
}

#[kata_test(
    when = crate::artifacts_provided,
    command = "setsid",
    command = "gdb",
    serial = "places-packages",
    timeout = "15m"
)]
fn gdb_stops_in_a_test_in_a_place() -> Result<()> {
    let package = package()?;
    for (binary, number) in [("annotated", "42"), ("plain", "43")] {
        let test = &format!("{binary}_passes");
        let place = ["--gdb", "--place", "vm:bookworm", test];
        let mut server = command(package.path(), &[&["shell"], &place[..]].concat())?;
        let mut server = server
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut lines = BufReader::new(server.stderr.take().context("no stderr")?).lines();
        let line = lines.find(|line| {
            line.as_ref()
                .map_or(true, |line| line.contains("target remote"))
        });
        let line = line.context("no line to type")??;
        println!("{line}");
        let mut gdb = Command::new("sh");
        gdb.env("TERM", "dumb").env("DEBUGINFOD_URLS", "");
        let (mut terminal, _program, mut gdb) = Terminal::start(gdb.args(["-c", &line]))?;
        for (line, answer) in [
            ("set pagination off", ""),
            ("set confirm off", ""),
            (&format!("break {binary}::stops_here"), "Breakpoint 1 at "),
            ("continue", "Breakpoint 1, "),
            ("print number * 1000", &format!("= {number}000")),
            ("continue", "exited normally"),
        ] {
            terminal.shows("(gdb) ")?;
            terminal.types(&format!("{line}\n"))?;
            terminal.shows(answer)?;
        }
        terminal.shows("(gdb) ")?;
        terminal.types("quit\n")?;
        ensure!(gdb.wait()?.success());
        let output: Vec<String> = lines.map_while(Result::ok).collect();
        let expected = format!("number {number}");
        assert!(
            output.iter().any(|line| line.contains(&expected)),
            "{output:#?}"
        );
        ensure!(server.wait()?.success());
    }
    Ok(())
}

/// Makes a file with symbols of a kernel, by its list of them.
pub(crate) fn symbols(package: &Path, name: &str) -> Result<PathBuf> {
    let list = [
        "run",
        "--place",
        "vm:bookworm",
        "--user",
        "root",
        "--",
        "cat",
        "/proc/kallsyms",
    ];
    let list = command(package, &list)?.output()?.stdout;
    let list = String::from_utf8(list)?;
    let mut lines = list.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let line = lines.find(|line| line.get(2) == Some(&name));
    let address = line.context("no such symbol")?[0].to_owned();
    let file = |name: &str| package.join(name);
    fs::write(file("empty.s"), "nop\n")?;
    let mut link = Command::new("cc");
    link.args(["-nostdlib", "-static", "-Wl,-e0"])
        .arg(format!("-Wl,--defsym,{name}=0x{address}"))
        .arg(file("empty.s"))
        .arg("-o")
        .arg(file("vmlinux"));
    ensure!(link.status()?.success(), "cc failed");
    Ok(file("vmlinux"))
}

#[kata_test(
    when = crate::artifacts_provided,
    command = "setsid",
    command = "gdb",
    command = "cc",
    serial = "places-packages",
    timeout = "15m"
)]
fn gdb_stops_in_the_kernel_of_a_guest() -> Result<()> {
    const NAME: &str = "__x64_sys_sethostname";
    let package = package()?;
    let symbols = symbols(package.path(), NAME)?;
    let symbols = symbols.to_str().context("UTF-8")?;
    let arguments = [
        "shell",
        "--place",
        "vm:bookworm",
        "--user",
        "root",
        "--kernel-symbols",
        symbols,
    ];
    let mut shell = command(package.path(), &arguments)?;
    shell.env("PS1", "guest$ ");
    let (mut shell, _program, mut process) = Terminal::start(&shell)?;
    shell.shows("    gdb ")?;
    let line = shell.rest_of_line()?;
    shell.shows("guest$ ")?;
    let mut gdb = Command::new("sh");
    gdb.env("TERM", "dumb").env("DEBUGINFOD_URLS", "");
    let (mut gdb, _program, mut debugger) =
        Terminal::start(gdb.args(["-c", &format!("gdb {line}")]))?;
    for (line, answer) in [
        ("set pagination off", ""),
        ("set confirm off", ""),
        (&*format!("break *&{NAME}"), "Breakpoint 1 at 0xffffffff"),
        ("continue", "Continuing."),
    ] {
        gdb.shows("(gdb) ")?;
        gdb.types(&format!("{line}\n"))?;
        gdb.shows(answer)?;
    }
    shell.types("hostname renamed; echo =$(uname -n)=\n")?;
    gdb.shows("hit Breakpoint 1, 0xffffffff")?;
    gdb.shows("(gdb) ")?;
    gdb.types("delete\ndetach\nquit\n")?;
    shell.shows("=renamed=")?;
    shell.types("exit\n")?;
    ensure!(process.wait()?.success() && debugger.wait()?.success());

    let here = ["shell", "--place", "here", "--kernel-symbols", symbols];
    let (code, text) = ends(&package, &here)?;
    assert_eq!(code, Some(125));
    assert!(
        text.contains("the kernel of this host cannot be debugged"),
        "{text}"
    );
    Ok(())
}

//! The host at hand, seen by processes of several kinds.
//!
//! Facts are observed once per process, so each kind of process is a new one: this program itself, which
//! judges what `ASK` holds instead of running tests.
//!
//! Scope: what the probes find on a live host. Made-up hosts are tested with the library's code.

#![expect(
    unsafe_code,
    reason = "exit hooks, and what only a process with one thread may do"
)]

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use kata_test::constraint::{Probe, evaluate, parse};
use kata_test::facts::{Finding, Here, Host, Question, forget, kvm, one_thread};
use kata_test::{Verdict, kata_test};

/// The user that owns nothing.
const NOBODY: u32 = 65534;

fn main() -> ExitCode {
    if std::env::var_os("HOOKS").is_some() {
        ask_probes_with_exit_hooks();
        return ExitCode::SUCCESS;
    }
    let Ok(text) = std::env::var("ASK") else {
        kata_test::__register!(main);
        return kata_test::__private_0_1_0::main(kata_test::__target!());
    };
    for constraint in text.split(';') {
        let constraints = parse(constraint).expect("constraints");
        let evaluation = evaluate(&constraints, &Here);
        let reasons: Vec<String> = evaluation.reasons.iter().map(ToString::to_string).collect();
        println!("{:?} {}", evaluation.status, reasons.join("; "));
    }
    ExitCode::SUCCESS
}

/// Runs a command that in the end runs this program, and returns its verdicts, one a line.
fn ask(command: &mut Command, constraints: &[&str]) -> Vec<String> {
    let output = command
        .env("ASK", constraints.join(";"))
        .output()
        .expect("it starts");
    let answers = String::from_utf8_lossy(&output.stdout).into_owned();
    let problem = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{}: {answers}{problem}",
        output.status
    );
    let lines: Vec<String> = answers.lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), constraints.len(), "{answers}{problem}");
    lines
}

fn this_program() -> std::path::PathBuf {
    std::env::current_exe().expect("this program")
}

#[kata_test(command = "unshare", namespace = "user")]
fn real_root_is_unmet_in_a_user_namespace() {
    let mut command = Command::new("unshare");
    command
        .args(["--user", "--map-root-user"])
        .arg(this_program());
    let answers = ask(
        &mut command,
        &["root", "real_root", "caps = \"CAP_SYS_ADMIN\""],
    );
    assert_eq!(answers[0], "Met ");
    assert!(
        answers[1].starts_with(
            "Unmet needs real_root: effective uid is 0, but not in the initial user namespace"
        ),
        "{}",
        answers[1]
    );
    assert_eq!(answers[2], "Met ", "in its own namespace it has them all");
}

/// Containers often leave root in the initial user namespace, so it is the namespace that decides.
#[kata_test(root)]
fn real_root_follows_the_namespace() {
    let link = std::fs::read_link("/proc/self/ns/user").expect("a namespace");
    let initial = link.as_os_str() == "user:[4026531837]";
    let answers = ask(&mut Command::new(this_program()), &["real_root"]);
    assert_eq!(answers[0] == "Met ", initial, "{}", answers[0]);
}

#[kata_test(root, caps("CAP_SETUID", "CAP_SETGID"), device = "/dev/kvm", when = kvm_is_restricted)]
fn kvm_is_unmet_for_an_unprivileged_user() {
    // By descriptor: this user may have no access to the path.
    let mut command = Command::new("/proc/self/exe");
    command.uid(NOBODY).gid(NOBODY);
    let answers = ask(
        &mut command,
        &[
            "kvm",
            "device = \"/dev/kvm\"",
            "non_root",
            "caps = \"CAP_KILL\"",
        ],
    );
    for line in &answers[..2] {
        assert!(
            line.starts_with("Unmet ") && line.contains("EACCES"),
            "{line}"
        );
    }
    assert_eq!(answers[2], "Met ");
    assert!(
        answers[3].starts_with("Unmet needs CAP_KILL: not in this thread's effective set"),
        "{}",
        answers[3]
    );
}

fn kvm_is_restricted() -> Verdict {
    use std::os::unix::fs::PermissionsExt;
    const NODE: &str = "/dev/kvm";
    match std::fs::metadata(NODE) {
        Ok(node) if node.permissions().mode() & 0o006 == 0 => {
            Verdict::met("others have no access", NODE)
        }
        Ok(_) => Verdict::unmet("every user has access", NODE),
        Err(error) => Verdict::unmet(error.to_string(), NODE),
    }
}

#[kata_test(arch = "x86_64", device = "/dev/kvm", not(kvm))]
fn a_kvm_whose_node_opens_may_not_work() {
    let answers = ask(
        &mut Command::new(this_program()),
        &["kvm", "device = \"/dev/kvm\""],
    );
    assert!(
        answers[0].starts_with("Unmet needs kvm: /dev/kvm opens but does not work: "),
        "{}",
        answers[0]
    );
    assert_eq!(answers[1], "Met ", "it opens all the same");
}

#[kata_test(
    caps = "CAP_SYS_ADMIN",
    namespace = "mnt",
    command = "unshare",
    command = "mount"
)]
fn without_proc_and_sys_nothing_panics() {
    let mut command = Command::new("unshare");
    let program = this_program();
    command
        .args(["--mount", "sh", "-c"])
        .arg("mount -t tmpfs none /proc && mount -t tmpfs none /sys && exec \"$0\"")
        .arg(&program);
    let asked = [
        "real_root",
        "caps = \"CAP_KILL\"",
        "container",
        "mem_available_ge = \"1KiB\"",
        "cpu_feature = \"fpu\"",
        "module = \"kvm\"",
        "device = \"/dev/null\"",
        "kernel_ge = \"2.6\"",
    ];
    let answers = ask(&mut command, &asked);
    for (line, constraint) in answers.iter().zip(asked).take(6) {
        // The marker file of a container manager is found without /proc.
        let marked = constraint == "container" && line == "Met ";
        let built_in = constraint == "module = \"kvm\"" && line == "Met ";
        assert!(
            line.starts_with("Undetermined ") || marked || built_in,
            "{constraint}: {line}"
        );
    }
    assert_eq!(answers[6..], ["Met ", "Met "]);
}

#[kata_test(
    caps = "CAP_SYS_ADMIN",
    namespace = "mnt",
    command = "unshare",
    command = "mount"
)]
fn masked_files_are_undetermined() {
    let mut command = Command::new("unshare");
    let program = this_program();
    // What container managers do: empty files over some, a device over others.
    command
        .args(["--mount", "sh", "-c"])
        .arg(
            "mount --bind /dev/null /proc/meminfo && mount --bind /dev/null /proc/cpuinfo \
             && exec \"$0\"",
        )
        .arg(&program);
    let answers = ask(
        &mut command,
        &[
            "mem_available_ge = \"1KiB\"",
            "cpu_feature = \"fpu\"",
            "cpus_ge = 1",
        ],
    );
    for line in &answers[..2] {
        assert!(line.starts_with("Undetermined "), "{line}");
    }
    assert_eq!(answers[2], "Met ");
}

/// A watchdog under another name, and a node for which the kernel would have to load a driver.
#[kata_test(
    real_root,
    caps("CAP_SYS_ADMIN", "CAP_MKNOD"),
    namespace = "mnt",
    command("unshare", "mount", "mknod")
)]
fn devices_that_opening_would_change_are_not_opened() {
    let mut command = Command::new("unshare");
    let program = this_program();
    command
        .args(["--mount", "sh", "-c"])
        .arg(
            "mount -t tmpfs none /dev && mknod /dev/innocent c 10 130 && mknod /dev/undriven c 10 201 \
             && mknod /dev/zero c 1 5 && : > /dev/plain && exec \"$0\"",
        )
        .arg(&program);
    let asked =
        ["innocent", "undriven", "zero", "plain"].map(|name| format!("device = \"/dev/{name}\""));
    let answers = ask(&mut command, &asked.each_ref().map(String::as_str));
    assert_eq!(
        answers[0],
        "Undetermined needs device /dev/innocent: /dev/innocent is a watchdog, which opening would \
         start (/dev/innocent)"
    );
    assert!(
        answers[1].starts_with(
            "Unmet needs device /dev/undriven: no driver has taken /dev/undriven (char 10:201)"
        ),
        "{}",
        answers[1]
    );
    assert_eq!(answers[2], "Met ");
    assert_eq!(
        answers[3],
        "Unmet needs device /dev/plain: /dev/plain is no device (/dev/plain)"
    );
}

#[kata_test(when = exists_proc_config, command = "gzip")]
fn the_kernels_own_configuration_is_read() {
    let answers = ask(
        &mut Command::new(this_program()),
        &[
            "kconfig(\"CONFIG_IKCONFIG_PROC=y\", \"CONFIG_PROC_FS\")",
            "not(kconfig = \"CONFIG_PROC_FS\")",
        ],
    );
    assert_eq!(answers[0], "Met ");
    assert_eq!(
        answers[1],
        "Unmet needs not(kconfig CONFIG_PROC_FS): CONFIG_PROC_FS=y (/proc/config.gz)"
    );
    // Without gzip on PATH the source is named, and the others are tried.
    let mut command = Command::new(this_program());
    command.env("PATH", "/nowhere");
    let answers = ask(&mut command, &["kconfig = \"CONFIG_PROC_FS\""]);
    assert!(
        answers[0] == "Met " || answers[0].contains("/proc/config.gz: compressed: gzip: ENOENT"),
        "{}",
        answers[0]
    );
}

fn exists_proc_config() -> Verdict {
    const FILE: &str = "/proc/config.gz";
    match std::path::Path::new(FILE).exists() && std::env::var_os("KCONFIG_PATH").is_none() {
        true => Verdict::met("it is there", FILE),
        false => Verdict::unmet("there is none", FILE),
    }
}

#[kata_test]
fn opt_ins_and_variables_come_from_the_environment() {
    let asked = [
        "opt_in = \"slow\"",
        "opt_in = \"big\"",
        "env = \"COLOUR=red\"",
        "env = \"COLOUR\"",
    ];
    let mut command = Command::new(this_program());
    command
        .env("KATA_TEST_ALLOW", "slow,huge")
        .env("COLOUR", "red");
    let answers = ask(&mut command, &asked);
    assert_eq!(answers[0], "Met ");
    assert!(
        answers[1].contains("set KATA_TEST_ALLOW=slow,huge,big"),
        "{}",
        answers[1]
    );
    assert_eq!(answers[2..], ["Met ", "Met "]);
}

#[kata_test]
fn only_needed_facts_are_observed() {
    let constraints = parse("any(root, non_root), kernel_ge = \"2.6\"").expect("constraints");
    let before: Vec<String> = asked();
    let _ = evaluate(&constraints, &Here);
    let mut expected = before;
    expected.extend(["effective uid", "kernel release"].map(str::to_owned));
    expected.sort();
    expected.dedup();
    assert_eq!(asked(), expected);
}

fn asked() -> Vec<String> {
    let asked = Here::asked().into_iter();
    asked.map(|(question, _)| question.to_string()).collect()
}

/// What tests ask for is looked at only if they are going to run.
#[kata_test]
fn a_probe_runs_only_if_a_test_that_was_selected_asks_for_it() {
    let folder = std::env::temp_dir().join(format!("kata-test-hosts-{}", std::process::id()));
    let runs = |arguments: &[&str]| {
        let _ = std::fs::remove_file(&folder);
        let mut command = Command::new(this_program());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("NEXTEST") {
                command.env_remove(name);
            }
        }
        let output = command
            .env("MARK", &folder)
            .args(arguments)
            .output()
            .expect("it starts");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stdout)
        );
        let ran = folder.exists();
        let _ = std::fs::remove_file(&folder);
        ran
    };
    assert!(!runs(&[
        "--exact",
        "opt_ins_and_variables_come_from_the_environment"
    ]));
    assert!(!runs(&["--list"]));
    assert!(runs(&["--exact", "asks_for_a_probe"]));
}

#[kata_test(when = leaves_a_mark)]
fn asks_for_a_probe() {}

fn leaves_a_mark() -> Verdict {
    if let Some(mark) = std::env::var_os("MARK") {
        std::fs::write(mark, "").expect("a mark");
    }
    Verdict::met("it is left", "this test")
}

/// How many probes with exit hooks run.
const HOOKED: usize = 200;

/// Asks probes that register an exit hook, each of which leaves a file in the folder `HOOKS`.
fn ask_probes_with_exit_hooks() {
    extern "C" fn hook() {
        let folder = std::env::var_os("HOOKS").expect("a folder");
        let file = std::path::Path::new(&folder).join(std::process::id().to_string());
        std::fs::write(file, "").expect("a mark");
    }
    fn hooked() -> Verdict {
        // SAFETY: the hook is a function that lives as long as the program.
        match unsafe { nix::libc::atexit(hook) } {
            0 => Verdict::met("it is registered", "atexit"),
            code => Verdict::undetermined(format!("atexit: {code}"), "atexit"),
        }
    }
    // SAFETY: this program has one thread.
    unsafe { one_thread() };
    for index in 0..HOOKED {
        let name = format!("hooked {index}").leak();
        let answer = Here.ask(Question::Probe(Probe { name, run: hooked }));
        assert!(matches!(answer.finding, Finding::Is(_)), "{answer:?}");
    }
}

/// Coverage counters are written by such a hook.
#[kata_test]
fn the_exit_hooks_of_a_probe_run_to_their_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let asks = Command::new(this_program())
        .env("HOOKS", folder.path())
        .status();
    assert!(asks.expect("it starts").success());
    let marks = std::fs::read_dir(folder.path()).expect("the folder");
    assert_eq!(marks.count(), HOOKED);
}

#[kata_test]
fn facts_are_forgotten_after_a_change_of_user() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("config");
    // SAFETY: this test has a process of its own with one thread.
    unsafe {
        std::env::set_var("KCONFIG_PATH", &config);
    }
    let symbol = |value: &str| {
        std::fs::write(&config, format!("CONFIG_A={value}\n")).expect("a file");
        Here.ask(Question::Kconfig("CONFIG_A")).finding.clone()
    };
    assert_eq!(symbol("y"), Finding::Is("y".into()));
    let _ = kvm();
    forget();
    assert_eq!(asked(), Vec::<String>::new());
    assert_eq!(symbol("m"), Finding::Is("m".into()));
    let _ = kvm();
    assert!(asked().contains(&Question::Kvm.to_string()));
}

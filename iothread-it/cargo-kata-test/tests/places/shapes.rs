//! VMs that are made for what tests ask for: `sample/tests/shapes.rs`.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::thread;

use anyhow::Result;
use guest_vm::scratch::ScratchDir;
use kata_test::kata_test;
use kata_test_runner::{
    Binary, CandidatePlace, Outcome, PlanInput, Record, Reporter, Run, StopToken, plan,
};
use nix::unistd::Uid;

use crate::commands::{in_package, outcomes};
use crate::example::become_unprivileged;
use crate::run::RUNNER;
use crate::scratch_package::scratch_package;
use crate::{build, folder, outcome, place, shared};

/// The newer kernel has no memory controller of cgroup v1.
const KERNELS: [&str; 2] = ["6.12", "6.1"];

/// Plans and runs as the command does, in VMs only: this host may have all of it.
fn run_in_vms(binary: Binary) -> Result<Vec<Record>> {
    let folder = folder()?;
    let records = folder.path().join("records");
    let run = Run::start(&records)?;
    let mut candidates = Vec::new();
    for kernel in KERNELS {
        candidates.push(CandidatePlace::Place(Box::new(place(kernel, &folder)?)));
    }
    let binaries = [binary];
    let print = &mut |text: &str| println!("{text}");
    let plan = plan(PlanInput::new(&binaries, &records), &mut candidates, print)?;
    for place in &plan.places {
        println!("{}: {}", place.name, place.about);
    }
    plan.record(&run)?;
    let mut reporter = Reporter {
        progress: print,
        output: &mut |bytes| print!("{}", String::from_utf8_lossy(bytes)),
        stop: StopToken::NEVER,
    };
    plan.run_in_places(&binaries, &mut candidates, &run, &mut reporter)?;
    Ok(run.merge()?)
}

/// Answers on this host's loopback.
fn answer_on(listener: TcpListener) {
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut asked = [0; 4];
            if stream.read_exact(&mut asked).is_ok() && &asked == b"ping" {
                let _ = stream.write_all(b"pong");
            }
        }
    });
}

#[kata_test(root, when = crate::artifacts_provided, mem_available_ge = "8GiB", timeout = "30m")]
fn vms_have_what_tests_of_an_unprivileged_user_ask_for() -> Result<()> {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/places/sample");
    let mut binary = build(sample, "shapes")?;
    shared::share_with(Uid::from_raw(65534))?;
    become_unprivileged()?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port().to_string();
    binary.env.push(("PLACES_SHAPES_PORT".into(), port.into()));
    answer_on(listener);
    let outcomes = run_in_vms(binary)?;
    let has_nft = Path::new("/usr/sbin/nft").exists();
    for found in &outcomes {
        let expected = match &*found.test {
            "too_much_memory" => Outcome::Nowhere,
            "nft_adds_a_table" if !has_nft => Outcome::Nowhere,
            _ => Outcome::Passed,
        };
        assert_eq!(found.outcome, expected, "{found:#?}");
    }
    let left = outcome(&outcomes, "leaves_a_file").artifacts.as_ref();
    assert_eq!(left.map(|left| (left.files, left.bytes)), Some((1, 9)));
    let place = |test| outcome(&outcomes, test).place.as_str();
    // A kernel that starts much faster comes first.
    let shape = |test| {
        let mut kernels = KERNELS.iter().map(|kernel| format!("vm:{kernel}"));
        let shape = kernels.find_map(|kernel| place(test).strip_prefix(&kernel));
        shape.expect(test)
    };
    let large = place("eight_cpus");
    assert!(shape("eight_cpus").starts_with("+8cpus+"), "{large}");
    assert!(
        large.contains("GiB+") && large.contains("+2nodes"),
        "{large}"
    );
    for test in ["six_gib", "two_nodes", "a_large_file"] {
        assert_eq!(place(test), large, "one VM for all sizes");
    }
    for (test, expected) in [
        ("loopback", ""),
        ("nobody_else_has_a_network", ""),
        ("a_kernel_argument", "+arg:kata=a,b+arg:nosmt"),
        ("a_network_reaches_the_host", "+network"),
    ] {
        assert_eq!(shape(test), expected, "{test}");
    }
    assert_eq!(place("cgroup_v1_limits_memory"), "vm:6.1+cgroup=v1");
    let too_much = &outcome(&outcomes, "too_much_memory").reasons[0].to_string();
    assert!(
        too_much.contains("mem_available >= ") && too_much.contains("this host has "),
        "{too_much}"
    );
    Ok(())
}

/// Plain tests, and what the configuration requires for them.
const PLAIN: [(&str, &str); 4] = [
    ("Cargo.lock", "version = 4\n"),
    (
        "Cargo.toml",
        "[workspace]\n[package]\nname = \"shaped\"\nversion = \"0.1.0\"\nedition = \"2024\"\n",
    ),
    (
        "src/lib.rs",
        r#"
#[test] fn usual() { assert_eq!(cpus(), 2) }
#[test] fn many_cpus() { assert!(cpus() >= 6) }
#[test] fn old_cgroups() { assert!(std::path::Path::new("/sys/fs/cgroup/cpuset").exists()) }
#[test] fn huge() {}
#[test] fn fails() { std::fs::write("/tmp/left", "x").unwrap(); panic!("as it should") }
fn cpus() -> usize { std::thread::available_parallelism().unwrap().get() }
"#,
    ),
    (
        ".config/kata-test.toml",
        r#"
[requirements]
'test(many_cpus)' = 'cpus_ge = 6'
'test(old_cgroups)' = 'cgroup = "v1", cgroup_controller = "cpuset"'
'test(fails)' = 'numa_nodes_ge = 2, network = "user"'
'test(huge)' = 'mem_available_ge = "900TiB"'
[places.connected]
suite = "bookworm"
network = "user"
"#,
    ),
];

fn plain_package() -> Result<ScratchDir> {
    let folder = folder()?;
    for (name, text) in PLAIN {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder"))?;
        std::fs::write(path, text)?;
    }
    Ok(folder)
}

/// Runs the command in a package and returns its exit code and its output.
fn command(folder: &ScratchDir, arguments: &[&str]) -> Result<(Option<i32>, String)> {
    let mut command = in_package(RUNNER, folder.path())?;
    let ran = command
        .env_remove("LD_LIBRARY_PATH")
        .args(arguments)
        .output()?;
    let text = String::from_utf8_lossy(&ran.stdout).into_owned();
    println!("{text}{}", String::from_utf8_lossy(&ran.stderr));
    Ok((ran.status.code(), text))
}

#[kata_test(when = crate::artifacts_provided, serial = "places-packages", timeout = "15m")]
fn the_configuration_asks_for_plain_tests_and_the_plan_shows_each_vm() -> Result<()> {
    let folder = plain_package()?;
    let (code, plan) = command(&folder, &["plan", "--offline", "--places", "vm:bookworm"])?;
    assert_eq!(code, Some(0));
    for line in [
        "vm:bookworm+6cpus: 1 test, starts in about ",
        "one more VM: 6 CPUs, 1 GiB of memory; kernel 6.1.",
        "vm:bookworm+cgroup=v1: 1 test, starts in about ",
        "needs mem_available >= 900TiB: a VM for it takes ",
    ] {
        assert!(plan.contains(line), "{line}");
    }
    let test = [
        "test",
        "--offline",
        "--places",
        "vm:bookworm",
        "--skip",
        "fails",
    ];
    let (code, _) = command(&folder, &test)?;
    assert_eq!(code, Some(0));
    let outcomes = outcomes()?;
    for (test, place) in [
        ("usual", "vm:bookworm"),
        ("many_cpus", "vm:bookworm+6cpus"),
        ("old_cgroups", "vm:bookworm+cgroup=v1"),
    ] {
        let found = outcome(&outcomes, test);
        let expected = (Outcome::Passed, place);
        assert_eq!((found.outcome, &*found.place), expected, "{found:#?}");
    }
    assert_eq!(outcome(&outcomes, "huge").outcome, Outcome::Nowhere);
    Ok(())
}

#[kata_test(when = crate::artifacts_provided, serial = "places-packages", timeout = "5m")]
fn only_selected_tests_have_vms_made_for_them() -> Result<()> {
    let annotated = "#[kata_test::kata_test(kernel_lt = \"6.2\", cpus_ge = 6)] fn large() {}\n\
         #[kata_test::kata_test(kernel_lt = \"6.2\")] fn usual() {}\n\
         kata_test::main!();\n";
    let folder = scratch_package(&[("tests/annotated.rs", annotated)])?;
    let plan = ["plan", "--offline", "--places", "vm:bookworm"];
    let (_, all) = command(&folder, &plan)?;
    assert!(all.contains("vm:bookworm+6cpus: 1 test"));
    let (code, one) = command(&folder, &[&plan[..], &["usual"]].concat())?;
    assert_eq!(code, Some(0));
    assert!(
        one.contains("vm:bookworm: 1 test") && !one.contains("+6cpus"),
        "{one}"
    );
    Ok(())
}

#[kata_test(when = crate::artifacts_provided, serial = "places-packages", timeout = "5m")]
fn a_network_is_an_option_of_run_and_of_the_configuration() -> Result<()> {
    let folder = plain_package()?;
    let route = ["--", "ip", "-4", "route"];
    let run = |place: &[&str]| {
        let arguments = [&["run", "--offline", "--user", "root"], place, &route].concat();
        command(&folder, &arguments)
    };
    let (code, text) = run(&["--place", "vm:bookworm"])?;
    assert_eq!((code, text.as_str()), (Some(0), ""));
    for place in [
        &["--place", "vm:bookworm", "--network", "user"][..],
        &["--place", "connected"],
    ] {
        let (code, text) = run(place)?;
        assert_eq!(code, Some(0));
        assert!(text.contains("default via 10.0.2.2"), "{text}");
    }
    let (code, _) = run(&["--place", "here", "--network", "user"])?;
    assert_eq!(code, Some(125));
    Ok(())
}

#[kata_test(when = crate::artifacts_provided, serial = "places-packages", timeout = "5m")]
fn the_guest_of_a_failed_test_is_restored_with_its_shape() -> Result<()> {
    let folder = plain_package()?;
    let test = [
        "test",
        "--offline",
        "--places",
        "vm:bookworm",
        "--save-guests=1",
        "fails",
    ];
    let (code, _) = command(&folder, &test)?;
    assert_eq!(code, Some(1));
    let outcomes = outcomes()?;
    let found = outcome(&outcomes, "fails");
    let expected = (Outcome::Failed, "vm:bookworm+2nodes+network");
    assert_eq!((found.outcome, &*found.place), expected, "{found:#?}");
    let mut shell = in_package(RUNNER, folder.path())?
        .env_remove("LD_LIBRARY_PATH")
        .args(["shell", "--offline", "fails"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let script = b"cat /tmp/left /sys/devices/system/node/online; ip -4 route | head -n 1\n";
    shell.stdin.take().expect("a pipe").write_all(script)?;
    let ended = shell.wait_with_output()?;
    let text = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert_eq!(text, "x0-1\ndefault via 10.0.2.2 dev eth0 \n");
    Ok(())
}

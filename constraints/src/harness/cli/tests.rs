//! Scope: parsing. The tests of the sample binaries cover what the options do.

use proptest::prelude::*;

use super::*;

fn parse_all(args: &[&str], threads: Option<&str>) -> Result<Command, String> {
    let environment = Environment {
        threads: threads.map(str::to_owned),
        no_capture: false,
        shuffle: false,
        shuffle_seed: None,
        retries: None,
        repeat: None,
        cpus: NonZeroUsize::new(4).expect("four"),
    };
    parse(args.iter().map(|&arg| arg.to_owned()), environment)
}

fn options(args: &[&str]) -> Options {
    match parse_all(args, None) {
        Ok(Command::Tests(options)) => options,
        other => panic!("{args:?}: {other:?}"),
    }
}

fn error(args: &[&str]) -> String {
    parse_all(args, None).expect_err("an error")
}

#[test]
fn the_default_is_to_run_all() {
    let options = options(&[]);
    assert_eq!(
        (options.which, options.format),
        (Which::NotIgnored, Format::Pretty)
    );
    assert!(options.capture && options.filters.is_empty() && !options.list);
    assert_eq!(options.threads.get(), 4);
}

#[test]
fn filters_and_values_in_every_form() {
    let options = options(&[
        "a",
        "--skip",
        "b",
        "--skip=c",
        "--exact",
        "--test-threads=2",
        "--color",
        "never",
        "--format=terse",
        "--no-capture",
        "-Z",
        "unstable-options",
        "-Zx",
        "d",
        "--",
        "--e",
    ]);
    assert_eq!(options.filters, ["a", "d", "--e"]);
    assert_eq!(options.skip, ["b", "c"]);
    assert_eq!((options.threads.get(), options.color), (2, Color::Never));
    assert_eq!(
        (options.exact, options.capture, options.format),
        (true, false, Format::Terse)
    );
}

#[test]
fn nextests_arguments() {
    let list = options(&["--list", "--format", "terse", "--ignored"]);
    assert!(list.list && list.format == Format::Terse && list.which == Which::OnlyIgnored);
    let run = options(&["--exact", "a::b", "--nocapture", "--include-ignored"]);
    assert!(run.exact && !run.capture && run.which == Which::All);
}

#[test]
fn bench_alone_runs_nothing() {
    assert_eq!(parse_all(&["--bench"], None), Ok(Command::Bench));
    assert_eq!(parse_all(&["--bench", "--list"], None), Ok(Command::Bench));
    assert!(matches!(
        parse_all(&["--bench", "--test"], None),
        Ok(Command::Tests(_))
    ));
    assert_eq!(parse_all(&["-qh"], None), Ok(Command::Help));
}

#[test]
fn threads_from_the_environment_and_its_errors() {
    let threads = |value| match parse_all(&[], Some(value))? {
        Command::Tests(options) => Ok(options.threads.get()),
        other => panic!("{other:?}"),
    };
    assert_eq!(threads("7"), Ok(7));
    let problem = "argument for RUST_TEST_THREADS must be a number greater than 0 (was 0)";
    assert_eq!(threads("0"), Err(problem.to_owned()));
}

#[test]
fn switches_of_the_environment_are_off_at_0() {
    let read = |value: &str| Environment::read(|_| Some(value.to_owned()));
    let [on, off] = ["1", "0"].map(read);
    assert!(on.no_capture && on.shuffle);
    assert!(!off.no_capture && !off.shuffle);
    assert_eq!(on.shuffle_seed.as_deref(), Some("1"));
    let unset = Environment::read(|_| None);
    assert!(!unset.no_capture && !unset.shuffle && unset.threads.is_none());
    let nothing = parse(
        std::iter::empty(),
        Environment {
            threads: None,
            ..on
        },
    );
    let Ok(Command::Tests(options)) = nothing else {
        panic!("{nothing:?}")
    };
    assert!(!options.capture && options.shuffle == Some(1));
}

#[test]
fn options_without_effect_have_a_note() {
    assert_eq!(
        options(&["--ensure-time"]).notes,
        ["--ensure-time has no effect here: give tests a `timeout`"]
    );
    assert!(options(&["--report-time"]).notes.is_empty());
}

#[test]
fn libtests_options_are_accepted() {
    for arg in [
        "--include-ignored",
        "--ignored",
        "--force-run-in-process",
        "--exclude-should-panic",
        "--test",
        "--list",
        "--logfile=x",
        "--nocapture",
        "--no-capture",
        "--test-threads=1",
        "--skip=x",
        "-q",
        "--quiet",
        "--exact",
        "--color=auto",
        "--format=json",
        "--show-output",
        "-Zunstable-options",
        "--report-time",
        "--ensure-time",
        "--shuffle",
        "--shuffle-seed=7",
        "--fail-fast",
        "-h",
        "--help",
    ] {
        assert!(parse_all(&[arg], None).is_ok(), "{arg}");
    }
    assert_eq!(options(&["--shuffle", "--shuffle-seed=7"]).shuffle, Some(7));
    assert_eq!(options(&["--shuffle-seed=7", "--shuffle"]).shuffle, Some(7));
    assert!(options(&["--shuffle"]).shuffle.is_some());
    assert_eq!(options(&["-q"]).format, Format::Terse);
    assert_eq!(options(&["--quiet"]).format, Format::Terse);
    assert!(options(&["--force-run-in-process"]).in_process);
}

#[test]
fn errors_name_the_option() {
    assert_eq!(error(&["--nope"]), "unrecognized option: 'nope'");
    assert_eq!(error(&["-x"]), "unrecognized option: 'x'");
    assert_eq!(error(&["--skip"]), "argument to option 'skip' missing");
    assert_eq!(
        error(&["--exact=1"]),
        "option 'exact' does not take an argument"
    );
    assert_eq!(
        error(&["--format=junit"]),
        "argument for --format must be pretty, terse or json (was junit)"
    );
    assert_eq!(
        error(&["--color=blue"]),
        "argument for --color must be auto, always or never (was blue)"
    );
    assert_eq!(
        error(&["--shuffle-seed", "x"]),
        "argument for --shuffle-seed must be a whole number (was x)"
    );
    assert_eq!(
        error(&["--ignored", "--include-ignored"]),
        "the options --include-ignored and --ignored are mutually exclusive"
    );
}

proptest! {
    #[test]
    fn no_arguments_panic(args in any::<Vec<String>>()) {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let _ = parse_all(&args, None);
    }
}

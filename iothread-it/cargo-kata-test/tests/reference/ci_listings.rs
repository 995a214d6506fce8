//! The listings of `ci.md` for GitHub and GitLab, and the action that the first one uses: they are YAML, and what they
//! name is in this repository.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use cargo_kata_test::cli;
use clap::Parser;
use guest_vm::artifacts::{CACHE_ENV, LOCK_FILE};
use kata_test::constraint::parse;
use serde_json::Value;

use crate::pages::{blocks, read, root};

#[derive(Parser)]
struct Runner {
    #[command(subcommand)]
    _command: cli::Command,
}

/// The listing with a text.
fn listing(text: &str) -> Value {
    let mut blocks = blocks("ci.md").into_iter();
    yaml(&blocks.find(|block| block.text.contains(text)).unwrap().text)
}

#[track_caller]
fn yaml(text: &str) -> Value {
    serde_yaml_ng::from_str(text).unwrap()
}

#[track_caller]
fn text(value: &Value) -> &str {
    value
        .as_str()
        .unwrap_or_else(|| panic!("not a text: {value:?}"))
}

#[track_caller]
fn list(value: &Value) -> &[Value] {
    let list = value.as_array();
    list.unwrap_or_else(|| panic!("not a list: {value:?}"))
}

/// The names and values of a mapping, whose names are among the known ones.
#[track_caller]
fn mapping<'a>(value: &'a Value, known: &[&str]) -> Vec<(&'a str, &'a Value)> {
    let entries = value.as_object();
    let entries = entries.unwrap_or_else(|| panic!("no mapping: {value:?}"));
    let entries: Vec<_> = entries
        .iter()
        .map(|(name, one)| (name.as_str(), one))
        .collect();
    for (name, _) in &entries {
        assert!(known.contains(name), "{name} is none of {known:?}");
    }
    entries
}

/// Parses a command of `cargo kata-test`.
#[track_caller]
fn parses<'a>(arguments: impl IntoIterator<Item = &'a str>) {
    let arguments: Vec<&str> = ["cargo kata-test"].into_iter().chain(arguments).collect();
    if let Err(error) = Runner::try_parse_from(&arguments) {
        panic!("{arguments:?}: {error}");
    }
}

/// The script takes places, and options of `cargo kata-test test`.
#[track_caller]
fn script_takes(path: &Path, arguments: &str) {
    let mode = fs::metadata(path).map(|data| data.permissions().mode());
    assert!(
        mode.unwrap() & 0o111 != 0,
        "{} is no program",
        path.display()
    );
    parses(["test", "--places"].into_iter().chain(arguments.split(' ')));
}

const ACTION: &str = "constraints/ci";

fn action() -> Value {
    yaml(&read(&format!("{ACTION}/action.yml")))
}

/// Those that others made are used in the workflows of this repository too, at the same commit.
#[track_caller]
fn is_used_here(action: &str) {
    let folder = fs::read_dir(root().join(".github/workflows")).unwrap();
    let workflow = |entry: std::io::Result<fs::DirEntry>| fs::read_to_string(entry.unwrap().path());
    let texts: Vec<String> = folder.map(workflow).collect::<Result<_, _>>().unwrap();
    let line = format!("uses: {action} #");
    assert!(texts.iter().any(|text| text.contains(&line)), "{action}");
}

#[test]
fn the_steps_for_github_use_actions_and_inputs_that_exist() {
    let listing = listing("uses: actions/checkout");
    let [(_, steps)] = &*mapping(&listing, &["steps"]) else {
        panic!("{listing:?}");
    };
    let mut has_ours = false;
    for step in list(steps) {
        mapping(step, &["uses", "with"]);
        let uses = text(&step["uses"]);
        let Some(ours) = uses.strip_prefix("OWNER/REPOSITORY/") else {
            is_used_here(uses);
            continue;
        };
        has_ours = true;
        assert_eq!(ours, format!("{ACTION}@COMMIT"));
        let action = action();
        let inputs = action["inputs"].as_object().unwrap();
        let known: Vec<&str> = inputs.keys().map(String::as_str).collect();
        for (input, value) in mapping(&step["with"], &known) {
            match input {
                "places" => parses(["test", "--places", text(value)]),
                "expect" => drop(parse(text(value)).unwrap()),
                _ => panic!("the value of {input} is not checked"),
            }
        }
    }
    assert!(has_ours, "{listing:?}");
}

#[test]
fn the_action_calls_what_exists_with_its_inputs() {
    let action = action();
    mapping(&action, &["name", "description", "inputs", "runs"]);
    let known = ["id", "shell", "run", "uses", "with", "env", "if"];
    let mut given = String::new();
    let mut steps = 0;
    for step in list(&action["runs"]["steps"]) {
        mapping(step, &known);
        if let Some(uses) = step["uses"].as_str() {
            let (_, commit) = uses.split_once('@').unwrap();
            let is_hex = commit.bytes().all(|byte| byte.is_ascii_hexdigit());
            assert!(is_hex && commit.len() == 40, "{uses} is not pinned");
        }
        for values in [&step["with"], &step["env"]] {
            let values = values.as_object().into_iter().flatten();
            given.extend(values.map(|(name, value)| format!("{name}={}\n", text(value))));
        }
        let Some(run) = step["run"].as_str() else {
            continue;
        };
        for line in run.lines() {
            steps += 1;
            let inside = line.split_once("$(cargo kata-test ");
            let inside = inside.and_then(|(_, end)| end.split_once(')'));
            if let Some((command, _)) = inside {
                parses(command.split(' '));
                continue;
            }
            let line = line.replace('"', "");
            let path = line
                .split(' ')
                .find_map(|word| word.strip_prefix("$ACTION/"));
            let path = root().join(ACTION).join(path.unwrap());
            match line.strip_suffix(" $PLACES $OPTIONS") {
                Some(_) => script_takes(&path, "here"),
                None => assert!(path.join("Cargo.toml").is_file(), "{line}"),
            }
        }
    }
    assert_eq!(steps, 4);
    for (input, _) in action["inputs"].as_object().unwrap() {
        let value = format!("${{{{ inputs.{input} }}}}\n");
        assert!(given.contains(&value), "no step gets {input}");
    }
    let inputs = action["inputs"].as_object().unwrap().len();
    assert_eq!(given.matches("${{ inputs.").count(), inputs, "{given}");
}

#[test]
fn the_job_for_gitlab_runs_what_exists_and_keeps_what_is_made() {
    let listing = listing("image: rust");
    let [(_, job)] = &*mapping(&listing, &["test"]) else {
        panic!("{listing:?}");
    };
    mapping(job, &["image", "script", "variables", "cache", "artifacts"]);
    assert_eq!(text(&job["image"]), "rust:1-bookworm");

    let [clone, run] = list(&job["script"]) else {
        panic!("{job:?}");
    };
    let checkout = text(clone)
        .strip_prefix("git clone --depth 1 URL ")
        .unwrap();
    let (script, places) = text(run).split_once(' ').unwrap();
    let script = script.strip_prefix(checkout).unwrap();
    script_takes(&root().join(script.trim_start_matches('/')), places);

    mapping(&job["cache"], &["key", "paths"]);
    let [path] = list(&job["cache"]["paths"]) else {
        panic!("{job:?}");
    };
    let [(_, cache)] = &*mapping(&job["variables"], &[CACHE_ENV]) else {
        panic!("{job:?}");
    };
    assert_eq!(text(cache), format!("$CI_PROJECT_DIR/{}", text(path)));
    let [(_, files)] = &*mapping(&job["cache"]["key"], &["files"]) else {
        panic!("{job:?}");
    };
    assert_eq!(list(files), [Value::from(LOCK_FILE)]);

    mapping(&job["artifacts"], &["when", "paths", "reports"]);
    assert_eq!(text(&job["artifacts"]["when"]), "always");
    // The test of the script in `places/pages.rs` looks for these after a run.
    mapping(&job["artifacts"]["reports"], &["junit"]);
}

//! Scope: errors of arguments. What the commands print is tested with workspaces.

use clap::CommandFactory as _;

use super::Cli;

fn command() -> clap::Command {
    Cli::command()
        .name("cargo kata-test")
        .bin_name("cargo kata-test")
}

#[test]
fn wrong_arguments_have_a_remedy() {
    let lines = [
        "tset",
        "test --relase",
        "test --places a:b",
        "test --places vm:6",
        "test --package a --exclude b",
        "test --release --profile fast",
        "report",
    ];
    let problems = lines.map(|line| {
        let arguments = ["cargo kata-test"]
            .into_iter()
            .chain(line.split_whitespace());
        let error = command().try_get_matches_from(arguments).expect_err(line);
        format!("$ cargo kata-test {line}\n{error}")
    });
    insta::assert_snapshot!(problems.join("\n"));
}

#[test]
fn what_to_do_comes_after_the_cause() {
    use anyhow::anyhow;

    let message = |error: anyhow::Error| super::message(&error);
    assert_eq!(message(anyhow!("it fails; do this")), "it fails; do this");
    let error = anyhow!("no such file")
        .context("cannot read the list; write it anew")
        .context("place vm:own");
    assert_eq!(
        message(error),
        "place vm:own: cannot read the list: no such file; write it anew"
    );
    let error = anyhow!("it is not there; install it").context("cannot run; choose another");
    assert_eq!(
        message(error),
        "cannot run: it is not there; install it; choose another"
    );
}

//! The sample as root sees it. Without root this is skipped, so it stands under our own harness.

// `folder` has a plain test of its own.
#[macro_use(test)]
extern crate kata_test;

#[path = "real/folder.rs"]
mod folder;
#[path = "real/run.rs"]
#[expect(
    dead_code,
    reason = "shared with the tests of `real`, which use all of it"
)]
mod run;

use kata_test::kata_test;
use run::Sample;

kata_test::main!();

#[kata_test(root, command = "cargo")]
fn as_root() {
    let said = Sample::build("sample").run(&["--test-threads=1"]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    insta::assert_snapshot!(said.stable());
}

/// A test that was given another user asks about the host as that user.
#[kata_test(root, command = "cargo")]
fn what_is_required_half_way_is_judged_as_the_tests_own_user() {
    let said = Sample::build("halfway").run(&["users::"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(
        said.stdout.contains("2 passed; 0 failed; 0 ignored"),
        "{}",
        said.stdout
    );
}

/// The user who owns a folder of records, and runs without root the next time.
const OWNER: u32 = 65534;

fn folder_of_the_owner() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::os::unix::fs::chown(folder.path(), Some(OWNER), Some(OWNER)).expect("chown");
    folder
}

#[kata_test(root)]
fn the_records_of_a_user_are_reached_by_no_link() {
    let folder = folder_of_the_owner();
    let [records, elsewhere] = ["records", "elsewhere"].map(|name| folder.path().join(name));
    for path in [&records, &elsewhere] {
        std::fs::create_dir(path).expect("a folder");
        std::os::unix::fs::chown(path, Some(OWNER), Some(OWNER)).expect("chown");
    }
    std::os::unix::fs::symlink(&elsewhere, records.join("runs")).expect("a link");
    let sample = Sample::build("sample");
    let mut command = sample.command(&["--exact", "cases::passes::with_a_result"]);
    command.env("KATA_TEST_RECORD_DIR", &records);
    let said = run::Said::by(command);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.stderr.contains("symbolic link"), "{said:?}");
    let found = std::fs::read_dir(&elsewhere).expect("a folder").count();
    assert_eq!(found, 0);
}

mod of_the_runner {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};
    use std::path::Path;

    use kata_test::{Reason, kata_test};
    use kata_test_runner::{Binary, Run};

    use super::{OWNER, folder_of_the_owner};

    #[kata_test(root)]
    fn a_run_of_root_s_leaves_nothing_of_root_s_in_a_user_s_folder() {
        let folder = folder_of_the_owner();
        let records = folder.path().join("kata-test");
        let run = Run::start(&records).expect("a run");
        run.describe("something").expect("run.json");
        let why = Reason {
            constraint: "a".to_owned(),
            observed: "b".to_owned(),
            source: "c".to_owned(),
        };
        run.fail("here", "p::it", "a", why).expect("a record");
        run.name_binaries(&[Binary::default()]).expect("a list");
        run.append("vm-1-p.jsonl").expect("records of a place");
        run.merge().expect("outcomes");
        all_are_the_owners(&records);
    }

    fn all_are_the_owners(folder: &Path) {
        for path in fs::read_dir(folder).expect("a folder") {
            let path = path.expect("an entry").path();
            let data = path.symlink_metadata().expect("a file");
            // A link can be removed by the owner of its folder.
            let is_owners = data.uid() == OWNER || data.is_symlink();
            assert!(is_owners, "{} is root's", path.display());
            if data.is_dir() {
                all_are_the_owners(&path);
            }
        }
    }

    #[kata_test(root)]
    fn root_writes_through_no_link_in_a_user_s_run() {
        let folder = folder_of_the_owner();
        let precious = folder.path().join("precious");
        fs::write(&precious, "precious").expect("a file");
        let run = Run::start(&folder.path().join("kata-test")).expect("a run");
        for name in ["vm-1-p.jsonl", "summary.md", "binary-ids"] {
            symlink(&precious, run.dir().join(name)).expect("a link");
        }
        assert!(run.append("vm-1-p.jsonl").is_err());
        fs::remove_file(run.dir().join("vm-1-p.jsonl")).expect("it goes");
        run.name_binaries(&[]).expect("it replaces the link");
        run.merge().expect("it replaces the link");
        assert_eq!(fs::read(&precious).expect("a file"), b"precious");
        assert_eq!(precious.metadata().expect("a file").uid(), 0);
    }
}

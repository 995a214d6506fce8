//! Which tests root in a user namespace suffices for.

use crate::plan::{needs_root, words};
use kata_test_host::reason::Reason;

/// What states that root there is another.
const SOURCE: &str = "user_namespaces(7)";

/// Returns why constraints that may be met there are no reason to run a test there.
pub(super) fn refusal(needs: &str, accepts_root: bool, has_users: bool) -> Option<Reason> {
    if needs_root(needs) && !accepts_root {
        let observed = "it is root in a user namespace only; state `root_in_userns` instead if that \
                        suffices, or configure `root-in-userns`";
        return Some(Reason::constraint("root", observed, SOURCE));
    }
    let mut users = words(needs).filter(|word| *word == "non_root" || word.starts_with("uid "));
    let user = users.find(|user| *user != "uid 0")?;
    let observed = "its user namespace has no user but root";
    (!has_users).then(|| Reason::constraint(user, observed, SOURCE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_taken_only_from_tests_that_accept_it() {
        let refused =
            |needs, accepts, users| refusal(needs, accepts, users).map(|one| one.constraint);
        for needs in [
            "root",
            "kvm, root",
            "any(root, kernel >= 6.1)",
            "uid 0",
            "all(not(root))",
        ] {
            assert_eq!(
                refused(needs, false, true).as_deref(),
                Some("root"),
                "{needs}"
            );
            assert_eq!(refused(needs, true, true), None, "{needs}");
        }
        // What is met there or not is asked there.
        for needs in [
            "",
            "root_in_userns",
            "real_root",
            "command root-tool",
            "CAP_SYS_ADMIN",
            "uid 7",
        ] {
            assert_eq!(refused(needs, false, true), None, "{needs}");
        }
        for needs in ["non_root", "kvm, uid 1000"] {
            assert!(refused(needs, true, false).is_some(), "{needs}");
            assert_eq!(refused(needs, false, true), None, "{needs}");
        }
    }
}

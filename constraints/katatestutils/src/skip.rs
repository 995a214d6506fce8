//! The macros of Kata Containers' crate `test-utils`.

/// Which user a row of a table of tests is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TestUserType {
    /// Root only.
    RootOnly,
    /// Users other than root only.
    NonRootOnly,
    /// Any user.
    Any,
}

/// Skips the running test if the effective user is root.
#[macro_export]
macro_rules! skip_if_root {
    () => {
        if $crate::__private::skips_test(
            &[$crate::__private::constraint::non_root()],
            $crate::__site!(),
        ) {
            return;
        }
    };
}

/// Skips the running test unless the effective user is root.
#[macro_export]
macro_rules! skip_if_not_root {
    () => {
        if $crate::__private::skips_test(
            &[$crate::__private::constraint::root()],
            $crate::__site!(),
        ) {
            return;
        }
    };
}

/// Skips the running test unless KVM works for this user: see [`kvm`](kata_test::constraint::kvm).
#[macro_export]
macro_rules! skip_if_kvm_unaccessable {
    () => {
        if $crate::__private::skips_test(&[$crate::__private::constraint::kvm()], $crate::__site!())
        {
            return;
        }
    };
}

/// Skips this iteration of a loop if the effective user is root. Takes a name of the iteration, which is
/// printed.
#[macro_export]
macro_rules! skip_loop_if_root {
    ($msg:expr) => {
        if $crate::__private::skips_iteration(
            &[$crate::__private::constraint::non_root()],
            $crate::__site!(),
            ::core::format_args!("{}", $msg),
        ) {
            continue;
        }
    };
}

/// Skips this iteration of a loop unless the effective user is root. Takes a name of the iteration, which is
/// printed.
#[macro_export]
macro_rules! skip_loop_if_not_root {
    ($msg:expr) => {
        if $crate::__private::skips_iteration(
            &[$crate::__private::constraint::root()],
            $crate::__site!(),
            ::core::format_args!("{}", $msg),
        ) {
            continue;
        }
    };
}

/// Skips this iteration of a loop unless the effective user is of a [`TestUserType`]. As with Kata's macro, the
/// caller imports `TestUserType`, `skip_loop_if_root` and `skip_loop_if_not_root` too.
///
/// ```
/// use katatestutils::{TestUserType, skip_loop_by_user, skip_loop_if_not_root, skip_loop_if_root};
///
/// for (name, user) in [("by root", TestUserType::RootOnly), ("by all", TestUserType::Any)] {
///     skip_loop_by_user!(name, user);
///     // …
/// }
/// ```
#[macro_export]
macro_rules! skip_loop_by_user {
    ($msg:expr, $user:expr) => {
        // Names without a path, or Kata's imports of them would be unused.
        if $user == TestUserType::RootOnly {
            skip_loop_if_not_root!($msg);
        } else if $user == TestUserType::NonRootOnly {
            skip_loop_if_root!($msg);
        }
    };
}

/// Asserts that two results are equal: values by `==`, errors by their `Debug` texts. Takes the expected one, the
/// actual one, and a message.
#[macro_export]
macro_rules! assert_result {
    ($expected_result:expr, $actual_result:expr, $msg:expr) => {
        if $expected_result.is_ok() {
            let expected_value = $expected_result.as_ref().unwrap();
            let actual_value = $actual_result.unwrap();
            assert!(*expected_value == actual_value, "{}", $msg);
        } else {
            assert!($actual_result.is_err(), "{}", $msg);

            let expected_error = $expected_result.as_ref().unwrap_err();
            let expected_error_msg = format!("{:?}", expected_error);

            let actual_error_msg = format!("{:?}", $actual_result.unwrap_err());

            assert!(expected_error_msg == actual_error_msg, "{}", $msg);
        }
    };
}

/// The items that the macros expand to. They are not stable.
#[doc(hidden)]
pub mod __private {
    pub use kata_test;
    pub use kata_test::__private_0_1_0::{Site, skips_iteration, skips_test};
    pub use kata_test::constraint;
}

/// Where a macro is used.
#[doc(hidden)]
#[macro_export]
macro_rules! __site {
    () => {
        $crate::__private::Site {
            target: $crate::__private::kata_test::__target!(),
            module: ::core::module_path!(),
        }
    };
}

//! The attribute together with rstest, tokio, and what else a test is written with.

use kata_test::kata_test;
use rstest::rstest;

kata_test::main!();

mod with_rstest {
    use super::*;

    #[rstest]
    #[case::two(2, 4)]
    #[case::three(3, 9)]
    #[kata_test::test(kernel_ge = "2.6")]
    fn cases(#[case] number: u32, #[case] square: u32) {
        assert_eq!(number * number, square);
    }

    #[rstest]
    #[case(1)]
    #[case(2)]
    #[kata_test::test(kernel_ge = "99.1", issue = "x/1")]
    fn unmet_cases(#[case] number: u32) {
        unreachable!("{number} must not run");
    }

    #[rstest]
    #[kata_test::test]
    fn values(#[values(1, 2, 3)] number: u32) -> Result<(), std::num::TryFromIntError> {
        u8::try_from(number).map(drop)
    }

    #[rstest]
    #[case(0)]
    #[kata_test::test]
    #[should_panic(expected = "zero")]
    fn cases_that_panic(#[case] number: u32) {
        let _ = 1_u32.checked_div(number).expect("zero");
    }

    #[rstest]
    #[case(1)]
    #[case(2)]
    #[kata_test::test(kernel_ge = "2.6")]
    async fn async_cases(#[case] number: u32) {
        let doubled = tokio::task::spawn(async move { number * 2 });
        assert_eq!(doubled.await.expect("a task"), number * 2);
    }
}

mod with_tokio {
    use super::*;

    #[kata_test]
    async fn a_task() {
        let task = tokio::task::spawn(async { 42 });
        assert_eq!(task.await.expect("a task"), 42);
    }

    #[kata_test(kernel_ge = "2.6")]
    async fn a_result() -> std::io::Result<()> {
        tokio::task::yield_now().await;
        Ok(())
    }

    #[kata_test]
    #[should_panic(expected = "as it should")]
    async fn a_panic() {
        tokio::task::yield_now().await;
        panic!("as it should");
    }

    #[kata_test]
    async fn a_skip() {
        tokio::task::yield_now().await;
        kata_test::skip!("from within a future");
    }

    /// A runtime cannot be built where another one runs, which shows that there is one for each.
    #[kata_test]
    fn no_runtime_without_async() {
        assert!(tokio::runtime::Handle::try_current().is_err());
    }
}

mod elsewhere {
    use kata_test as renamed;

    #[renamed::test(crate = renamed, kernel_ge = "2.6")]
    fn under_another_name() {
        #[allow(
            unused_imports,
            dead_code,
            clippy::allow_attributes,
            reason = "it hides the crate's own name"
        )]
        mod kata_test {}
        renamed::require!(kernel_ge = "2.6");
    }
}

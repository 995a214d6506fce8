//! Plain tests that run under this harness by one added line.

#[macro_use(test)]
extern crate kata_test;

kata_test::main!();

#[test]
fn plainly() {}

#[test]
#[ignore = "to be seen"]
fn ignored() {}

#[test]
#[should_panic(expected = "so it")]
fn by_panicking() {
    panic!("so it should");
}

mod inside {
    proptest::proptest! {
        #[test]
        fn a_macro(x in 0..10u32) {
            proptest::prop_assert!(x < 10);
        }
    }
}

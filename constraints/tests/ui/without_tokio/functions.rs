//! An async test where kata-test was built without a runtime for it.

use kata_test::kata_test;

#[kata_test]
async fn is_async() {}

#[kata_test(root)]
async fn is_generic_too<T: Default>() {}

fn main() {}

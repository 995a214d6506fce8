//! A thousand tests that do nothing, in a crate that forbids what their registration does.

#![forbid(unsafe_code)]

use kata_test::kata_test;

kata_test::main!();

macro_rules! tests {
    ($($name:ident)*) => { $( #[kata_test] fn $name() {} )* };
}

macro_rules! ten {
    ($($name:ident)*) => {
        $( mod $name {
            use super::*;
            tests! { t0 t1 t2 t3 t4 t5 t6 t7 t8 t9 }
        } )*
    };
}

macro_rules! hundred {
    ($($name:ident)*) => {
        $( mod $name {
            use super::*;
            ten! { a b c d e f g h i j }
        } )*
    };
}

hundred! { a b c d e f g h i j }

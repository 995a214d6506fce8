//! Collects the tests of a program: the linker joins their statics to one slice.
//!
//! A section whose name is a C identifier gets its two ends from the linker, so a test costs one
//! static and no function, of which a thousand would be felt in every build. `#[used]` makes the
//! linker keep the section. Where that is not so (Miri, and systems with another form of programs), a
//! function for each test registers it before `main`.
//!
//! Before Rust 1.89 `#[used]` reached the compiler only (rust-lang/rust#140872), and lld then drops a
//! section whose ends alone are referred to, unless its name begins with `__libc_`: glibc before 2.34
//! depends on that (<https://sourceware.org/PR27492>). Without this prefix all tests vanish there.
//!
//! The section's name has the version, in which a `Test` has one layout. A program with two versions
//! does not link; should one do so all the same, each version has a section of its own.
#![cfg_attr(
    all(target_os = "linux", not(miri)),
    expect(unsafe_code, reason = "the ends of a section have no safe form")
)]

#[cfg(not(all(target_os = "linux", not(miri))))]
pub(crate) use by_constructors::{required, tests};
#[cfg(all(target_os = "linux", not(miri)))]
pub(crate) use by_section::{required, tests};

use crate::constraint::Constraint;

/// The constraints of a `require!`.
#[derive(Debug)]
pub struct Required(pub &'static [Constraint]);

#[cfg(all(target_os = "linux", not(miri)))]
mod by_section {
    use super::Required;
    use crate::registry::Test;

    /// Adds the version of this crate to a name, as the attribute does.
    macro_rules! versioned {
        ($name:literal) => {
            concat!(
                $name,
                "_",
                env!("CARGO_PKG_VERSION_MAJOR"),
                "_",
                env!("CARGO_PKG_VERSION_MINOR"),
                "_",
                env!("CARGO_PKG_VERSION_PATCH")
            )
        };
    }

    macro_rules! section {
        ($(#[$doc:meta])+ $all:ident: $type:ty, $section:literal) => {
            $(#[$doc])+
            pub(crate) fn $all() -> impl Iterator<Item = &'static $type> {
                #[expect(improper_ctypes, reason = "only their addresses are used")]
                unsafe extern "C" {
                    #[link_name = concat!("__start_", versioned!($section))]
                    static START: $type;
                    #[link_name = concat!("__stop_", versioned!($section))]
                    static STOP: $type;
                }
                /// Defines the ends of an empty section too.
                #[used]
                #[unsafe(link_section = versioned!($section))]
                static NONE: [$type; 0] = [];

                let (start, stop) = (&raw const START, &raw const STOP);
                let length = (stop.addr() - start.addr()) / size_of::<$type>();
                std::hint::black_box(&NONE);
                // SAFETY: only `__register!` and `NONE` put statics into this section. All are of this type,
                // whose size is a multiple of its alignment.
                unsafe { std::slice::from_raw_parts(start, length) }.iter()
            }
        };
    }

    section! {
        /// Every test of this program, in no order.
        tests: Test, "__libc_kata_tests"
    }

    section! {
        /// The constraints of every `require!` of this program.
        required: Required, "__libc_kata_required"
    }

    /// Registers a test or the constraints of a `require!` in a section. The user's crate has no
    /// `unsafe`.
    #[doc(hidden)]
    #[macro_export]
    macro_rules! __register {
        // A runner finds by this section which binaries have our `main`: it starts no others.
        (main) => {
            #[used]
            #[unsafe(link_section = "kata_main")]
            static __KATA_MAIN: u8 = 1;
            // With compilers before Rust 1.89, `#[used]` alone does not keep it under lld.
            ::std::hint::black_box(&__KATA_MAIN);
        };
        ($section:literal required $constraints:expr) => {
            #[used]
            #[unsafe(link_section = $section)]
            static __KATA_REQUIRED: $crate::__private_0_1_0::Required =
                $crate::__private_0_1_0::Required($constraints);
        };
        ($section:literal $test:expr) => {
            #[used]
            #[unsafe(link_section = $section)]
            static __KATA_TEST: $crate::__private_0_1_0::Test = $test;
        };
    }
}

#[cfg(not(all(target_os = "linux", not(miri))))]
mod by_constructors {
    use super::Required;
    use crate::registry::Test;

    inventory::collect!(Test);
    inventory::collect!(Required);

    /// Registers a test or the constraints of a `require!`.
    #[doc(hidden)]
    #[macro_export]
    macro_rules! __register {
        (main) => {};
        ($section:literal required $constraints:expr) => {
            $crate::__private_0_1_0::inventory::submit! { $crate::__private_0_1_0::Required($constraints) }
        };
        ($section:literal $test:expr) => {
            $crate::__private_0_1_0::inventory::submit! { $test }
        };
    }

    /// Every test of this program, in no order.
    pub(crate) fn tests() -> impl Iterator<Item = &'static Test> {
        inventory::iter::<Test>.into_iter()
    }

    /// The constraints of every `require!` of this program.
    pub(crate) fn required() -> impl Iterator<Item = &'static Required> {
        inventory::iter::<Required>.into_iter()
    }
}

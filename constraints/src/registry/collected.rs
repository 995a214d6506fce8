//! How tests that stand anywhere in a program come together: the linker joins them to one slice.
//!
//! A section whose name is a C identifier gets its two ends from the linker, so a test costs one
//! static and no function, of which a thousand would be felt in every build. `#[used]` makes the
//! linker keep the section whatever it collects. Where that is not so (Miri, and systems with
//! another form of programs), a function for each test registers it before `main`.
#![cfg_attr(
    all(target_os = "linux", not(miri)),
    expect(unsafe_code, reason = "the ends of a section have no safe form")
)]

#[cfg(not(all(target_os = "linux", not(miri))))]
pub(crate) use by_constructors::all;
#[cfg(all(target_os = "linux", not(miri)))]
pub(crate) use by_section::all;

#[cfg(all(target_os = "linux", not(miri)))]
mod by_section {
    use crate::registry::Test;

    #[expect(improper_ctypes, reason = "only their addresses are asked for")]
    unsafe extern "C" {
        #[link_name = "__start_kata_tests"]
        static START: Test;
        #[link_name = "__stop_kata_tests"]
        static STOP: Test;
    }

    /// The ends are there even if the program has no test.
    #[used]
    #[unsafe(link_section = "kata_tests")]
    static NONE: [Test; 0] = [];

    /// Registers a test. The user's crate sees no `unsafe`.
    #[doc(hidden)]
    #[macro_export]
    macro_rules! __register {
        ($test:expr) => {
            #[used]
            #[unsafe(link_section = "kata_tests")]
            static TEST: $crate::__private::Test = $test;
        };
    }

    /// Every test of this program, in no order.
    pub(crate) fn all() -> impl Iterator<Item = &'static Test> {
        let (start, stop) = (&raw const START, &raw const STOP);
        let length = (stop.addr() - start.addr()) / size_of::<Test>();
        std::hint::black_box(&NONE);
        // SAFETY: the linker puts nothing into this section but what is said to be in it, which is
        // statics of this one type only, and their size is a multiple of their alignment.
        unsafe { std::slice::from_raw_parts(start, length) }.iter()
    }
}

#[cfg(not(all(target_os = "linux", not(miri))))]
mod by_constructors {
    use crate::registry::Test;

    inventory::collect!(Test);

    /// Registers a test.
    #[doc(hidden)]
    #[macro_export]
    macro_rules! __register {
        ($test:expr) => {
            $crate::__private::inventory::submit! { $test }
        };
    }

    /// Every test of this program, in no order.
    pub(crate) fn all() -> impl Iterator<Item = &'static Test> {
        inventory::iter::<Test>.into_iter()
    }
}

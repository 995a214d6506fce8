//! The mark by which a process is known to be of a test: a variable of its environment, which every
//! program that it starts inherits.
//!
//! Each test's process changes the mark, so it is made for that: once, in memory that stays, and a
//! child writes its own id into its copy. setenv(3) would take a good part of a small test's time.
#![expect(unsafe_code, reason = "putenv(3) has no safe form")]

use std::sync::atomic::{AtomicU8, Ordering};

use nix::unistd::{Pid, getpid};

/// The variable: `<harness pid>-<test pid>`.
pub(crate) const OWNER: &str = "KATA_TEST_OWNER";

/// How long the variable and its value are, and the NUL behind them.
const LENGTH: usize = OWNER.len() + 1 + DIGITS + 1 + DIGITS + 1;

/// Any process id has so many digits, with zeros before it.
const DIGITS: usize = 10;

static MARK: [AtomicU8; LENGTH] = [const { AtomicU8::new(0) }; LENGTH];

/// Makes room for the mark in the environment of this process, which has one thread.
pub(crate) fn make_room_for_owner() {
    put(0, OWNER.bytes().chain(*b"="));
    put(OWNER.len() + 1, digits(getpid()));
    put(LENGTH - DIGITS - 2, *b"-0000000000");
    let mark = MARK.as_ptr().cast_mut().cast::<nix::libc::c_char>();
    // SAFETY: the text ends with a NUL, lasts as long as the program, and is written to only where
    // there is one thread; atomics may be written through a shared reference. Nobody reads the
    // environment meanwhile.
    unsafe { nix::libc::putenv(mark) };
}

/// Marks the calling child, and with it every program that it will start, as a test's.
pub(crate) fn mark_owner() {
    put(LENGTH - DIGITS - 1, digits(getpid()));
}

fn put(at: usize, bytes: impl IntoIterator<Item = u8>) {
    for (index, byte) in bytes.into_iter().enumerate() {
        MARK[at + index].store(byte, Ordering::Relaxed);
    }
}

fn digits(pid: Pid) -> [u8; DIGITS] {
    let mut digits = [b'0'; DIGITS];
    let mut left = pid.as_raw().unsigned_abs();
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (left % 10).to_le_bytes()[0];
        left /= 10;
    }
    digits
}

#[cfg(test)]
mod tests {
    //! Scope: the text. That processes are found by it is shown by tests that leave some behind.

    use super::*;

    #[test]
    fn a_process_id_is_read_back() {
        for pid in [1, 1234, i32::MAX] {
            let text = String::from_utf8(digits(Pid::from_raw(pid)).to_vec()).expect("digits");
            assert_eq!((text.len(), text.parse()), (DIGITS, Ok(pid)));
        }
    }
}

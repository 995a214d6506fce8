//! Reseeds the kernel's random number generator, whose state a clone shares with its template.
#![expect(
    unsafe_code,
    reason = "the two requests of random(4) have no safe wrapper"
)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

use nix::libc::c_int;

/// `struct rand_pool_info` of `linux/random.h`, for 32 bytes.
#[repr(C)]
struct PoolInfo {
    entropy_bits: c_int,
    size: c_int,
    bytes: [u8; 32],
}

nix::ioctl_write_ptr!(
    /// The request is declared for two integers; the bytes follow them.
    rndaddentropy,
    b'R',
    0x03,
    [c_int; 2]
);
nix::ioctl_none!(rndreseedcrng, b'R', 0x07);

/// Adds bytes to the pool, credits them as entropy, and reseeds the generator.
pub(crate) fn add(bytes: &[u8; 32]) -> io::Result<()> {
    let random = File::options().write(true).open("/dev/random")?;
    let info = PoolInfo {
        entropy_bits: 256,
        size: 32,
        bytes: *bytes,
    };
    // SAFETY: the kernel reads the two integers and as many bytes as the second one states, all of which
    // are in `info`.
    unsafe { rndaddentropy(random.as_raw_fd(), (&raw const info).cast()) }?;
    // SAFETY: this request has no argument.
    unsafe { rndreseedcrng(random.as_raw_fd()) }?;
    Ok(())
}

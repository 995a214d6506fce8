//! The suite: real QEMU, a real guest, and disks that come and go on the threads of a pool.
//!
//! A case is a function of a topology, and runs on several of them. It is skipped, and says so,
//! where QEMU and the guest are not at hand: `cargo xtask it` brings them.

mod attach;
mod bare;
mod capabilities;
mod cpus;
mod crowd;
mod cycles;
mod data;
mod devices;
mod documents;
mod ejected;
mod errors;
mod evidence;
mod failures;
mod faults;
mod file_systems;
mod fixture;
mod formats;
mod guest;
mod irqfd;
mod jobs;
mod load;
mod microvm;
mod migration;
mod monitors;
mod moving;
mod ownership;
mod pending;
mod placement;
mod polling;
mod queues;
mod raw;
mod regressions;
mod released;
mod requests;
mod serving;
mod soak;
mod survival;
mod texts;
mod threads;
mod three_ways;
mod throttle;
mod warm;

kata_test::main!();

//! Monitors take no thread of ours, on any released QEMU: they have one of QEMU's own.

use anyhow::{Result, ensure};
use kata_test::kata_test;

use crate::bare::refused_arguments;

const COMMON: [&str; 6] = [
    "-machine",
    "none",
    "-object",
    "iothread,id=indep_iothread_0",
    "-chardev",
    "null,id=second",
];

fn refused(arguments: [&str; 2]) -> Result<String> {
    let arguments: Vec<&str> = COMMON.into_iter().chain(arguments).collect();
    refused_arguments(&arguments)
}

#[kata_test(when = crate::fixture::qemu_and_guest)]
fn monitor_thread_is_not_a_pool_thread() -> Result<()> {
    let monitor = "chardev=second,mode=control,iothread=indep_iothread_0";
    let message = refused(["-mon", monitor])?;
    ensure!(
        message.contains("Invalid parameter 'iothread'"),
        "{message}"
    );

    // From 11.1 on, a monitor is an object: also one without a thread.
    let monitor = "monitor-qmp,id=m0,chardev=second,iothread=indep_iothread_0";
    let message = refused(["-object", monitor])?;
    let before_11_1 = message.contains("Parameter 'qom-type' does not accept value 'monitor-qmp'");
    let since = message.contains("Invalid parameter 'iothread'");
    ensure!(before_11_1 || since, "{message}");
    Ok(())
}

//! Plain tests, compiled by rustc alone. Each shows something of the guest that it runs in.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

unsafe extern "C" {
    safe fn getuid() -> u32;
    safe fn getgid() -> u32;
    safe fn setsid() -> i32;
    safe fn sync();
    safe fn fork() -> i32;
    fn getgroups(size: i32, list: *mut u32) -> i32;
    fn sethostname(name: *const u8, length: usize) -> i32;
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn is_an_unprivileged_user() {
    assert_ne!(getuid(), 0);
    println!("user {}:{}", getuid(), getgid());
    // SAFETY: nothing is written with a size of zero.
    assert_eq!(unsafe { getgroups(0, std::ptr::null_mut()) }, 0);
    let status = fs::read_to_string("/proc/self/status").unwrap();
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        let line = status.lines().find(|line| line.starts_with(set)).unwrap();
        assert!(line.ends_with("\t0000000000000000"), "{line}");
    }
    fs::write("/etc/mark", "x").unwrap_err();
    let name = format!(":x:{}:{}:", getuid(), getgid());
    assert!(fs::read_to_string("/etc/passwd").unwrap().contains(&name));
}

#[test]
fn writes_where_its_user_may() {
    let folders = [
        variable("HOME"),
        variable("TMPDIR"),
        variable("CARGO_TARGET_TMPDIR"),
    ];
    for folder in folders.iter().map(Path::new).chain([Path::new(".")]) {
        let file = folder.join("written");
        fs::write(&file, "text").unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }
    fs::write("data/small.txt", "changed").unwrap();
    fs::rename("data", "moved").unwrap();
    assert_eq!(fs::read_to_string("moved/small.txt").unwrap(), "changed");
    fs::rename("moved", "data").unwrap();
    fs::remove_file("data/small.txt").unwrap();
    assert!(!Path::new("data/small.txt").exists());
}

#[test]
fn is_root() {
    assert_eq!(getuid(), 0);
    fs::write("/etc/mark", "x").unwrap();
    fs::write("data/root.txt", "x").unwrap();
}

#[test]
fn reads_the_large_fixture() {
    let bytes = fs::read("data/large.bin").unwrap();
    assert_eq!(bytes.len(), 200 << 20);
    let is_right = |(index, chunk): (usize, &[u8])| chunk[..8] == (index as u64).to_le_bytes();
    assert!(bytes.chunks(1 << 20).enumerate().all(is_right));
}

#[test]
fn reads_all_kinds_of_files() {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::MetadataExt;
    assert_eq!(fs::read_to_string(".hidden/file").unwrap(), "hidden");
    assert_eq!(fs::read_to_string("link").unwrap(), "hidden");
    let odd = std::ffi::OsStr::from_bytes(b"data/not-utf-8-\xff");
    assert_eq!(fs::read_to_string(Path::new(odd)).unwrap(), "odd");
    let program = Path::new("data/private.txt").metadata().unwrap();
    assert_eq!((program.mode(), program.uid()), (0o100_600, getuid()));
    assert_eq!(program.mtime(), 1_000_000_000);
    assert_eq!(fs::read_dir("many").unwrap().count(), 1000);
    assert_eq!(fs::read_to_string("many/file-777").unwrap(), "777");
    assert!(!Path::new(".git").exists());
    let here = std::env::current_dir().unwrap();
    assert_eq!(here, Path::new(&variable("CARGO_MANIFEST_DIR")));
    assert_eq!(
        std::env::current_exe().unwrap(),
        Path::new(&variable("PLAIN_EXECUTABLE"))
    );
}

#[test]
fn leaves_processes() {
    for _ in 0..50 {
        if fork() == 0 {
            setsid();
            loop {
                std::thread::sleep(Duration::from_secs(3600));
            }
        }
    }
}

#[test]
fn leaves_a_host_name() {
    // SAFETY: the name has that length.
    assert_eq!(unsafe { sethostname(b"other".as_ptr(), 5) }, 0);
}

#[test]
fn reaches_itself_by_ipv4_and_ipv6() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let server = std::net::TcpListener::bind(address)
            .unwrap_or_else(|error| panic!("bind {address}: {error}"));
        let address = server.local_addr().unwrap();
        std::net::TcpStream::connect(address)
            .unwrap_or_else(|error| panic!("connect to {address}: {error}"));
    }
}

#[test]
fn finds_no_processes() {
    let processes = fs::read_dir("/proc").unwrap().flatten().filter(|entry| {
        let is_process = entry.file_name().to_string_lossy().parse::<u32>().is_ok();
        is_process
            && !fs::read(entry.path().join("cmdline"))
                .unwrap_or_default()
                .is_empty()
    });
    // Init and this one.
    assert_eq!(processes.count(), 2);
}

#[test]
fn hangs() {
    println!("it hangs");
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

#[test]
fn prints_a_gigabyte() {
    let piece = [b'x'; 1 << 16];
    let mut out = std::io::stdout().lock();
    for _ in 0..1 << 14 {
        out.write_all(&piece).unwrap();
    }
    out.write_all(b"\nthe end").unwrap();
}

#[test]
fn prints_to_both_streams_in_turn() {
    for number in 0..100 {
        println!("out {number}");
        eprintln!("err {number}");
    }
}

#[test]
fn fails() {
    panic!("expected failure");
}

#[test]
fn aborts() {
    std::process::abort();
}

#[test]
fn panics_the_kernel() {
    // More than a pipe holds, so that the first words have left the guest before it ends.
    println!("before the panic{}", " ".repeat(1 << 20));
    sync();
    fs::write("/proc/sysrq-trigger", "c").unwrap();
}

/// Declares trivial tests.
macro_rules! trivial {
    ($($name:ident)*) => { mod trivial { $(#[test] fn $name() {})* } };
}
trivial!(NAMES);

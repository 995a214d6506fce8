//! What root in a user namespace may do, and what it may not: `constraints/docs/userns.md` lists it.

use std::fs;
use std::io;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use kata_test::kata_test;

/// A folder for one test. Process ids are not unique: each place has its own.
fn folder() -> io::Result<PathBuf> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.expect("a time after 1970").as_nanos();
    let folder = std::env::temp_dir().join(format!("userns-{now}-{}", std::process::id()));
    fs::create_dir(&folder)?;
    Ok(folder)
}

fn ip(arguments: &[&str]) -> bool {
    Command::new("ip")
        .args(arguments)
        .status()
        .is_ok_and(|status| status.success())
}

fn mount(from: &str, to: &Path, kind: &str, flags: libc::c_ulong) -> io::Result<()> {
    let text = |text: &str| std::ffi::CString::new(text).expect("a text");
    let (from, kind) = (text(from), text(kind));
    let to = text(to.to_str().expect("UTF-8"));
    // SAFETY: the texts end with a zero.
    match unsafe {
        libc::mount(
            from.as_ptr(),
            to.as_ptr(),
            kind.as_ptr(),
            flags,
            std::ptr::null(),
        )
    } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn result(code: libc::c_long) -> io::Result<()> {
    if code == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// How many ids the namespace has.
fn ids() -> io::Result<u32> {
    let map = fs::read_to_string("/proc/self/uid_map")?;
    let counts = map
        .lines()
        .filter_map(|line| line.split_whitespace().nth(2)?.parse::<u32>().ok());
    Ok(counts.fold(0, u32::saturating_add))
}

#[track_caller]
fn denied<T: std::fmt::Debug>(result: io::Result<T>, errno: i32) {
    let error = result.expect_err("it is not permitted");
    assert_eq!(error.raw_os_error(), Some(errno), "{error}");
}

#[kata_test(root_in_userns)]
fn mounts_a_tmpfs_and_binds_a_folder() -> io::Result<()> {
    let folder = folder()?;
    mount("tmpfs", &folder, "tmpfs", 0)?;
    fs::write(folder.join("file"), "inside")?;
    let other = folder.join("other");
    fs::create_dir(&other)?;
    mount(
        folder.to_str().expect("UTF-8"),
        &other,
        "none",
        libc::MS_BIND,
    )?;
    assert_eq!(fs::read_to_string(other.join("file"))?, "inside");
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    assert!(mounts.contains(other.to_str().expect("UTF-8")));
    for path in [&other, &folder] {
        let path = std::ffi::CString::new(path.to_str().expect("UTF-8"))?;
        // SAFETY: the text ends with a zero.
        result(unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) }.into())?;
    }
    fs::remove_dir(&folder)
}

#[kata_test(root_in_userns, command = "ip")]
fn creates_network_devices() {
    let is_alone = fs::read_dir("/sys/class/net").expect("devices").count() == 1;
    assert!(is_alone, "there are devices of the host");
    let kinds = [
        &["link", "add", "d0", "type", "dummy"][..],
        &["link", "add", "d0", "type", "veth", "peer", "name", "d1"],
        &["link", "add", "d0", "type", "bridge"],
    ];
    assert!(kinds.iter().any(|kind| ip(kind)), "no kind of device");
    assert!(ip(&["addr", "add", "10.1.2.3/24", "dev", "d0"]));
    assert!(ip(&["link", "set", "d0", "up"]));
    assert!(
        Path::new("/sys/class/net/d0").exists(),
        "/sys is of another namespace"
    );
    assert!(ip(&["link", "delete", "d0"]));
}

#[kata_test(root_in_userns)]
fn changes_owners() -> io::Result<()> {
    let file = folder()?.join("file");
    fs::write(&file, "")?;
    chown(&file, Some(0), Some(0))?;
    assert_eq!(file.metadata()?.uid(), 0);
    if ids()? > 1 {
        chown(&file, Some(7), Some(7))?;
        assert_eq!(file.metadata()?.uid(), 7);
    } else {
        denied(chown(&file, Some(7), None), libc::EINVAL);
    }
    denied(chown(&file, Some(4_000_000_000), None), libc::EINVAL);
    fs::remove_dir_all(file.parent().expect("a folder"))
}

#[kata_test(root_in_userns)]
fn reaches_itself_and_nobody_else() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    TcpStream::connect(listener.local_addr()?)?;
    // A port for root.
    TcpListener::bind("127.0.0.1:80")?;
    denied(
        UdpSocket::bind("0.0.0.0:0")?.connect("192.0.2.1:9"),
        libc::ENETUNREACH,
    );
    Ok(())
}

#[kata_test(root_in_userns)]
fn sees_no_process_of_the_host() -> io::Result<()> {
    let ids = fs::read_dir("/proc")?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    // Init, the harness, and its child.
    assert!(ids.count() < 10);
    assert_eq!(
        fs::read_link("/proc/self")?,
        PathBuf::from(std::process::id().to_string())
    );
    Ok(())
}

#[kata_test(root_in_userns)]
fn changes_the_host_name_for_itself() -> io::Result<()> {
    // SAFETY: the text has that length.
    result(unsafe { libc::sethostname(c"inside".as_ptr(), 6) }.into())?;
    assert_eq!(fs::read_to_string("/proc/sys/kernel/hostname")?, "inside\n");
    Ok(())
}

#[kata_test(root_in_userns)]
fn cannot_create_a_device_node() -> io::Result<()> {
    let folder = folder()?;
    let node = std::ffi::CString::new(folder.join("null").to_str().expect("UTF-8"))?;
    // SAFETY: the text ends with a zero.
    let made = unsafe { libc::mknod(node.as_ptr(), libc::S_IFCHR | 0o600, libc::makedev(1, 3)) };
    denied(result(made.into()), libc::EPERM);
    fs::remove_dir(folder)
}

#[kata_test(root_in_userns)]
fn cannot_mount_what_is_on_a_block_device() -> io::Result<()> {
    let folder = folder()?;
    let kinds = fs::read_to_string("/proc/filesystems")?;
    let mut kinds = kinds.lines().filter_map(|line| line.strip_prefix('\t'));
    // fuseblk may be mounted, with a file of /dev/fuse.
    let kind = kinds
        .find(|kind| *kind != "fuseblk")
        .expect("a file system");
    denied(mount("/dev/null", &folder, kind, 0), libc::EPERM);
    denied(mount("none", &folder, "debugfs", 0), libc::EPERM);
    fs::remove_dir(folder)
}

#[kata_test(root_in_userns)]
fn cannot_load_modules_set_the_clock_or_raise_hard_limits() {
    // SAFETY: no descriptor has this number, and the text ends with a zero.
    let load = unsafe { libc::syscall(libc::SYS_finit_module, -1, c"".as_ptr(), 0) };
    let error = result(load)
        .expect_err("it is not permitted")
        .raw_os_error();
    // A kernel may have no modules.
    assert!(
        [Some(libc::EPERM), Some(libc::ENOSYS)].contains(&error),
        "{error:?}"
    );
    let time = libc::timespec {
        tv_sec: 1,
        tv_nsec: 0,
    };
    // SAFETY: the call reads the time.
    let set = unsafe { libc::clock_settime(libc::CLOCK_REALTIME, &raw const time) };
    denied(result(set.into()), libc::EPERM);
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the calls write and read the limit.
    let raised = unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        limit.rlim_max += 1;
        libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit)
    };
    denied(result(raised.into()), libc::EPERM);
}

#[kata_test(root_in_userns)]
fn cannot_write_settings_of_the_whole_kernel() {
    let setting = fs::OpenOptions::new()
        .write(true)
        .open("/proc/sys/vm/overcommit_memory");
    // Root of the host may open it, but not change it.
    match setting {
        Err(error) => assert_eq!(error.raw_os_error(), Some(libc::EACCES)),
        Ok(_) => assert!(ids().expect("ids") > 1),
    }
}

#[kata_test(root_in_userns, when = crate::is_mapped_alone)]
fn cannot_open_files_of_other_users() -> io::Result<()> {
    let shadow = Path::new("/etc/shadow");
    let data = shadow.metadata()?;
    assert_eq!((data.uid(), data.permissions().mode() & 0o004), (65534, 0));
    denied(fs::File::open(shadow), libc::EACCES);
    Ok(())
}

#[kata_test(root_in_userns, when = crate::is_mapped_alone)]
fn cannot_become_another_user() {
    // SAFETY: the calls have no pointers that are read.
    unsafe {
        denied(result(libc::setuid(7).into()), libc::EINVAL);
        denied(
            result(libc::setgroups(0, std::ptr::null()).into()),
            libc::EPERM,
        );
    }
}

/// Met if there is no other user in the namespace.
fn is_mapped_alone() -> kata_test::Verdict {
    const SOURCE: &str = "/proc/self/uid_map";
    match ids() {
        Ok(1) => kata_test::Verdict::met("one id", SOURCE),
        Ok(count) => kata_test::Verdict::unmet(format!("{count} ids"), SOURCE),
        Err(error) => kata_test::Verdict::undetermined(error.to_string(), SOURCE),
    }
}

#[kata_test(root)]
fn needs_root() {}

#[kata_test(real_root)]
fn needs_real_root() {}

#[kata_test(non_root)]
fn needs_another_user() {}

#[kata_test(caps("CAP_NET_ADMIN"))]
fn needs_a_capability() {}

/// Another test kills its runner meanwhile.
#[kata_test(root_in_userns, opt_in = "blocks")]
fn blocks() {
    let left = Command::new("sleep").arg("1000").spawn();
    left.and_then(|mut left| left.wait()).expect("it is killed");
}

kata_test::main!();

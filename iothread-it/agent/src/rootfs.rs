//! The root file system that test programs expect.
//!
//! The initramfs supports no `pivot_root`, so a tmpfs is moved onto it, as `switch_root` does. The kernel's
//! threads share this process's root, and find `/sbin/modprobe` there.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::sync::Mutex;

use guest_agent::protocol::{Failure, HOME, User};
use nix::mount::{MsFlags, mount};
use nix::unistd::{chdir, chroot};

use crate::failure::OrFailure;
use crate::mount::{bind, unless_exists, without_device};
use crate::sync::lock;
use crate::{cgroups, network};

/// Where the new root is built.
const NEW: &str = "/new-root";

/// Mounts that are moved to the new root.
const MOVED: [&str; 4] = ["dev", "proc", "sys", "tmp"];

/// Folders of the new root, except mount points.
const FOLDERS: [(&str, u32); 11] = [
    ("etc", 0o755),
    ("home", 0o755),
    ("mnt", 0o755),
    ("root", 0o700),
    ("run", 0o755),
    ("usr/bin", 0o755),
    ("usr/lib/modules", 0o755),
    ("usr/lib64", 0o755),
    ("usr/local/bin", 0o755),
    ("usr/sbin", 0o755),
    ("var/tmp", 0o1777),
];

/// Folders that are links to those in `usr`, as in a distribution.
const MERGED: [&str; 4] = ["bin", "lib", "lib64", "sbin"];

/// In the boot image: a program that is many, and the paths that it has names for.
const MULTI_CALL: &str = "bin/busybox";
const APPLETS: &str = "/bin/applets";

/// Files that programs and libraries read.
const FILES: [(&str, &str); 4] = [
    (
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    ),
    ("etc/group", "root:x:0:\nnogroup:x:65534:\n"),
    ("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
    (
        "etc/os-release",
        "ID=iothread-it\nNAME=\"iothread-it guest\"\n",
    ),
];

/// Type, target and options of the mounts in the new root. The kernel lets a user namespace mount `/proc` only where
/// nothing is mounted over a file of one, as [`identity`](crate::identity) does with `/proc`.
const MOUNTS: [(&str, &str, &str); 4] = [
    ("devpts", "/dev/pts", "ptmxmode=0666"),
    ("tmpfs", "/dev/shm", "mode=1777"),
    ("tmpfs", "/run", "mode=0755"),
    ("proc", "/run/proc", ""),
];

/// Links in `/dev`, and their targets.
const LINKS: [(&str, &str); 4] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
];

/// Whether the root file system was set up.
#[derive(Default)]
pub(crate) struct Rootfs(Mutex<bool>);

impl Rootfs {
    /// Sets it up, unless that was done before.
    pub(crate) fn set_up(&self, user: User) -> Result<(), Failure> {
        let mut done = lock(&self.0);
        if !*done {
            set_up(user)?;
            *done = true;
        }
        Ok(())
    }
}

fn set_up(user: User) -> Result<(), Failure> {
    let nothing = None::<&str>;
    let new = Path::new(NEW);
    fs::create_dir_all(NEW).or_failure(|| format!("make {NEW}"))?;
    without_device("tmpfs", NEW, Some("mode=0755,size=80%"))
        .or_failure(|| format!("mount {NEW}"))?;
    for (folder, mode) in FOLDERS {
        make(&new.join(folder), mode).or_failure(|| format!("make /{folder}"))?;
    }
    for name in MERGED {
        let made = symlink(format!("usr/{name}"), new.join(name));
        made.or_failure(|| format!("link /{name}"))?;
    }
    for (file, text) in FILES {
        fs::write(new.join(file), text).or_failure(|| format!("write /{file}"))?;
    }
    network::write_resolver(new).or_failure(|| "write /etc/resolv.conf".into())?;
    add_user(new, user).or_failure(|| "add a user".into())?;
    // The modules of the boot image.
    let modules = "lib/modules";
    bind(format!("/{modules}").as_str(), &new.join(modules))
        .or_failure(|| "bind the modules".into())?;
    fs::copy("/init", new.join("sbin/modprobe")).or_failure(|| "copy this program".into())?;
    link_applets(new).or_failure(|| format!("link the names of /{MULTI_CALL}"))?;
    for name in MOVED {
        let (from, to) = (format!("/{name}"), new.join(name));
        fs::create_dir_all(&to).or_failure(|| format!("make {from}"))?;
        mount(Some(&*from), &to, nothing, MsFlags::MS_MOVE, nothing)
            .or_failure(|| format!("move {from}"))?;
    }
    chdir(NEW).or_failure(|| "enter the new root".into())?;
    mount(Some("."), "/", nothing, MsFlags::MS_MOVE, nothing)
        .or_failure(|| "move the new root".into())?;
    chroot(".").or_failure(|| "change the root".into())?;
    chdir("/").or_failure(|| "enter /".into())?;
    for (kind, place, options) in MOUNTS {
        fs::create_dir_all(place).or_failure(|| format!("make {place}"))?;
        without_device(kind, place, Some(options))
            .or_failure(|| format!("mount {kind} on {place}"))?;
    }
    cgroups::mount_all().or_failure(|| "mount cgroups".into())?;
    for (link, to) in LINKS {
        unless_exists(symlink(to, link)).or_failure(|| format!("make {link}"))?;
    }
    // Private, so that programs do not see each other's mounts.
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(nothing, "/", nothing, private, nothing).or_failure(|| "make mounts private".into())?;
    fs::write("/proc/sys/kernel/hostname", "guest").or_failure(|| "set the host's name".into())
}

/// Provides a shell and the usual tools, if the boot image has them. This program is `modprobe`.
fn link_applets(new: &Path) -> io::Result<()> {
    let Ok(applets) = fs::read_to_string(APPLETS) else {
        return Ok(());
    };
    let (from, to) = (format!("/{MULTI_CALL}"), new.join(MULTI_CALL));
    fs::File::create_new(&to)?;
    bind(&*from, &to)?;
    for applet in applets.lines() {
        unless_exists(symlink(&from, new.join(applet)))?;
    }
    Ok(())
}

/// Adds a user with a home folder, unless its id is already that of another name.
fn add_user(root: &Path, User { uid, gid }: User) -> io::Result<()> {
    let home = root.join(HOME.trim_start_matches('/'));
    fs::create_dir(&home)?;
    chown(&home, Some(uid), Some(gid))?;
    let users = format!("user:x:{uid}:{gid}:user:{HOME}:/bin/sh\n");
    for (file, id, line) in [
        ("etc/passwd", uid, users),
        ("etc/group", gid, format!("user:x:{gid}:\n")),
    ] {
        let mut text = fs::read_to_string(root.join(file))?;
        if !text.contains(&format!(":x:{id}:")) {
            text.push_str(&line);
            fs::write(root.join(file), text)?;
        }
    }
    Ok(())
}

/// Makes a folder with this mode, whatever the umask is.
pub(crate) fn make(folder: &Path, mode: u32) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(mode))
}

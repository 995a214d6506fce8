//! Mounts file systems, and the images that the host delivers on disks.

use std::fs::{self, DirBuilder, File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use guest_agent::protocol::{Failure, MountTarget};
use nix::NixPath;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::failure::{OrFailure, bad_request};

/// Where an image is mounted meanwhile.
const IMAGE: &str = "/run/image";

/// Where the file system for changes of a folder is mounted meanwhile.
const CHANGES: &str = "/run/changes";

/// Mounts a file system that needs no device.
pub(crate) fn without_device<P: NixPath + ?Sized>(
    kind: &str,
    at: &P,
    options: Option<&str>,
) -> nix::Result<()> {
    mount(Some(kind), at, Some(kind), MsFlags::empty(), options)
}

/// Shows a file or folder at another path too.
pub(crate) fn bind<P: NixPath + ?Sized, Q: NixPath + ?Sized>(from: &P, to: &Q) -> nix::Result<()> {
    let none = None::<&str>;
    mount(Some(from), to, none, MsFlags::MS_BIND, none)
}

/// Mounts the EROFS image on a disk.
pub(crate) fn image(node: &Path, target: &MountTarget) -> Result<(), Failure> {
    let source = Temporary::mount(Some(node), IMAGE, "erofs", MsFlags::MS_RDONLY)?;
    match target {
        MountTarget::Folder(path) => folder(&source.0, Path::new(path)),
        MountTarget::Files => files(&source.0, Path::new("/")),
    }
}

/// A mount that is hidden when dropped. Mounts that were made from it keep what they need of it.
struct Temporary(PathBuf);

impl Temporary {
    fn mount(
        source: Option<&Path>,
        at: &str,
        kind: &'static str,
        flags: MsFlags,
    ) -> Result<Self, Failure> {
        let what = || format!("mount {kind} at {at}");
        fs::create_dir_all(at).or_failure(what)?;
        let mounted = mount(
            source.or(Some(Path::new(kind))),
            at,
            Some(kind),
            flags,
            None::<&str>,
        );
        match mounted {
            Err(nix::errno::Errno::ENODEV) => Err(bad_request(format!(
                "cannot mount {kind}: this kernel has no module `{kind}`, which brings the test binary \
                 into the guest; use a kernel that has it"
            ))),
            mounted => mounted.map(|()| Self(at.into())).or_failure(what),
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
        let _ = fs::remove_dir(&self.0);
    }
}

/// Mounts an image as a folder that can be written.
fn folder(image: &Path, path: &Path) -> Result<(), Failure> {
    let changes = Temporary::mount(None, CHANGES, "tmpfs", MsFlags::empty())?;
    let [upper, work] = ["upper", "work"].map(|name| changes.0.join(name));
    let made = || -> io::Result<()> {
        fs::create_dir_all(path)?;
        fs::create_dir(&work)?;
        make_like(&upper, &image.metadata()?)
    };
    made().or_failure(|| format!("make {}", path.display()))?;
    // Renaming a folder of the image works, and a file's inode number does not change with its content.
    let options = format!(
        "lowerdir={},upperdir={},workdir={},redirect_dir=on,xino=on",
        image.display(),
        upper.display(),
        work.display()
    );
    let kind = "overlay";
    without_device(kind, path, Some(&options))
        .or_failure(|| format!("mount {kind} at {}", path.display()))
}

/// Shows each file of an image at its path below another folder.
fn files(image: &Path, below: &Path) -> Result<(), Failure> {
    let what = |path: &Path| format!("make {}", path.display());
    let list = fs::read_dir(image).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    for entry in list.or_failure(|| what(image))? {
        let (from, to) = (entry.path(), below.join(entry.file_name()));
        let data = entry.metadata().or_failure(|| what(&from))?;
        if data.is_dir() {
            make_like(&to, &data).or_failure(|| what(&to))?;
            files(&from, &to)?;
        } else if data.is_symlink() {
            let made = fs::read_link(&from).and_then(|target| symlink(target, &to));
            unless_exists(made).or_failure(|| what(&to))?;
        } else {
            if to.is_symlink() {
                // A name of the guest's own tools: the host's program of that name is the one to run.
                fs::remove_file(&to).or_failure(|| what(&to))?;
            }
            unless_exists(File::create_new(&to).map(drop)).or_failure(|| what(&to))?;
            bind(&from, &to).or_failure(|| what(&to))?;
        }
    }
    Ok(())
}

/// Makes a folder with the permissions and owner of another. One that exists keeps its own.
fn make_like(path: &Path, data: &Metadata) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {
            chown(path, Some(data.uid()), Some(data.gid()))?;
            fs::set_permissions(path, Permissions::from_mode(data.mode() & 0o7777))
        }
        made => unless_exists(made),
    }
}

/// Takes an entry that exists already for one that was made.
pub(crate) fn unless_exists(made: io::Result<()>) -> io::Result<()> {
    match made {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

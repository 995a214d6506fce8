//! **Scope**: files made by the tests. Places boot real kernels.

use std::fs;

use super::image::fixtures::bzimage;
use super::*;
use crate::artifacts::{Silent, Store};

const RELEASE: &str = "6.1.2-own";

/// A cache, and a kernel with modules.
struct Fixture(tempfile::TempDir);

impl Fixture {
    fn new() -> Self {
        let fixture = Self(tempfile::tempdir().unwrap());
        fixture.put("bzImage", &bzimage(RELEASE));
        fixture.put("modules/modules.builtin", b"kernel/a.ko\n");
        fixture
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn put(&self, name: &str, content: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn install(&self, kernel: &str, modules: Option<&str>) -> Result<KernelInstall, String> {
        let store = Store::at(&self.path("cache"));
        let lock = store.lock(&mut Silent).unwrap();
        let own = OwnKernel {
            kernel: self.path(kernel),
            modules: modules.map(|name| self.path(name)),
        };
        let folder = self.0.path().display().to_string();
        let text = |error| crate::artifacts::with_causes(&error).replace(&folder, "");
        own.install(&lock).map_err(text)
    }
}

fn sha256(kernel: &KernelInstall) -> &str {
    match &kernel.origin {
        Origin::Files { sha256, .. } => sha256,
        other => panic!("{other:?}"),
    }
}

fn module(fixture: &Fixture, name: &str, release: &str) {
    let content = crate::guest::image::fixtures::module(&format!("vermagic={release} SMP\0"));
    fixture.put(name, &content);
}

#[test]
fn a_kernel_is_found_with_its_modules() {
    let fixture = Fixture::new();
    let alone = fixture.install("bzImage", None).unwrap();
    assert_eq!((alone.release.as_str(), &alone.modules), (RELEASE, &None));
    let named = fixture.install("bzImage", Some("modules")).unwrap();
    assert_eq!(named.modules, Some(fixture.path("modules")));

    module(&fixture, "root/lib/modules/6.1.2-own/kernel/x.ko", RELEASE);
    fixture.put("root/lib/modules/6.1.2-own/modules.builtin", b"");
    let below = fixture.install("bzImage", Some("root")).unwrap();
    let folder = fixture.path("root/lib/modules/6.1.2-own");
    assert_eq!(below.modules, Some(folder));
}

#[test]
fn the_digest_covers_the_kernel_and_its_modules() {
    let fixture = Fixture::new();
    let digest = || sha256(&fixture.install("bzImage", Some("modules")).unwrap()).to_owned();
    let mut seen = vec![digest()];
    assert_eq!(digest(), seen[0]);
    module(&fixture, "modules/kernel/x.ko", RELEASE);
    seen.push(digest());
    module(&fixture, "modules/kernel/x.ko", "6.1.2-own more");
    seen.push(digest());
    fixture.put("bzImage", &[bzimage(RELEASE), vec![1]].concat());
    seen.push(digest());
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 4);
}

#[test]
fn a_folder_that_a_kernel_was_built_in_has_both() {
    let fixture = Fixture::new();
    fixture.put("tree/arch/x86/boot/bzImage", &bzimage(RELEASE));
    let built = fixture.install("tree", None).unwrap();
    assert_eq!(built.modules, None);
    fixture.put("tree/modules.builtin", b"");
    fixture.put("tree/modules.order", b"fs/x.o\n");
    module(&fixture, "tree/fs/x.ko", RELEASE);
    let built = fixture.install("tree", None).unwrap();
    assert_eq!(built.modules, Some(fixture.path("tree")));

    fixture.put("tree/.config", b"CONFIG_64BIT=y\nCONFIG_PCI=y\n");
    let problem = fixture.install("tree", None).unwrap_err();
    assert!(
        problem.contains("CONFIG_VIRTIO_BLK") && !problem.contains("CONFIG_PCI,"),
        "{problem}"
    );
}

/// Packages are made by `dpkg-deb`, which unpacks them too.
#[test]
fn packages_are_unpacked_once() {
    let fixture = Fixture::new();
    let package = |name: &str| {
        let control = "Package: linux-image-own\nVersion: 1\nArchitecture: amd64\nMaintainer: x\nDescription: x\n";
        fixture.put(&format!("{name}/DEBIAN/control"), control.as_bytes());
        let mut command = std::process::Command::new("dpkg-deb");
        command.arg("-b").arg(fixture.path(name));
        let built = command.output().unwrap();
        assert!(built.status.success(), "{built:?}");
    };
    fixture.put("image/boot/vmlinuz-6.1.2-own", &bzimage(RELEASE));
    package("image");
    fixture.put("more/lib/modules/6.1.2-own/modules.builtin", b"");
    package("more");
    fixture.put("other/usr/share/doc/text", b"");
    package("other");

    assert_eq!(fixture.install("image.deb", None).unwrap().modules, None);
    let both = || fixture.install("image.deb", Some("more.deb")).unwrap();
    let modules = both().modules.unwrap();
    assert!(modules.ends_with("root/lib/modules/6.1.2-own"));
    fs::write(modules.join("mark"), "").unwrap();
    assert!(both().modules.unwrap().join("mark").exists());
    let problem = fixture.install("other.deb", None).unwrap_err();
    assert!(problem.contains("name a linux-image package"), "{problem}");
    fixture.put("text.deb", b"no package");
    let problem = fixture.install("text.deb", None).unwrap_err();
    assert!(problem.starts_with("cannot unpack /text.deb"), "{problem}");
}

#[test]
fn what_cannot_be_used_is_named_with_a_remedy() {
    let fixture = Fixture::new();
    fixture.put("empty", b"");
    fixture.put("text", b"no kernel");
    let mut arm = vec![0; 0x400];
    arm[0x38..0x3c].copy_from_slice(b"ARM\x64");
    fixture.put("arm64/Image", &arm);
    module(&fixture, "others/kernel/x.ko", "5.10.0");
    fixture.put("others/modules.builtin", b"");
    fixture.put("more.deb", b"");
    nix::unistd::mkfifo(&fixture.path("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    fixture.put("modular/bzImage", &bzimage(RELEASE));
    let config = options::all().replace(", ", "=y\n") + "=y\n";
    let modular = config.replace("CONFIG_VIRTIO_BLK=y", "CONFIG_VIRTIO_BLK=m");
    fixture.put("modular/config-6.1.2-own", modular.as_bytes());
    let mut problems = String::new();
    for (kernel, modules) in [
        ("missing", None),
        ("empty", None),
        ("text", None),
        ("arm64/Image", None),
        ("pipe", None),
        ("modules", None),
        ("bzImage", Some("missing")),
        ("bzImage", Some("arm64")),
        ("bzImage", Some("text")),
        ("bzImage", Some("more.deb")),
        ("bzImage", Some("others")),
        ("modular/bzImage", None),
    ] {
        let problem = fixture.install(kernel, modules).unwrap_err();
        problems += &format!("{kernel} {}\n    {problem}\n", modules.unwrap_or_default());
    }
    insta::assert_snapshot!(problems);
}

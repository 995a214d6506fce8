//! Reads the section `.modinfo` of kernel modules.

use object::read::elf::ElfFile64;
use object::{Object as _, ObjectSection as _};

/// The name of a module. `-` is equivalent to `_`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ModuleName(String);

impl ModuleName {
    pub(super) fn new(name: &str) -> Self {
        Self(name.replace('-', "_"))
    }

    /// Returns the name in a path such as `kernel/fs/ext4/ext4.ko.xz`.
    pub(super) fn of_path(path: &str) -> Option<Self> {
        let file = path.rsplit('/').next()?;
        let (name, compression) = file.split_once(".ko")?;
        (compression.is_empty() || compression.starts_with('.')).then(|| Self::new(name))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Returns the dependencies of a module, in their order.
pub(super) fn depends(module: &[u8]) -> Result<Vec<ModuleName>, object::Error> {
    Ok(depends_in(section(module)?))
}

/// Returns the aliases of a module, which may contain `*`.
pub(super) fn aliases(module: &[u8]) -> Result<Vec<&str>, object::Error> {
    Ok(texts_of("alias=", section(module)?).collect())
}

/// Returns the release of the kernel that a module was built for.
pub(super) fn release(module: &[u8]) -> Result<Option<String>, object::Error> {
    let magic = texts_of("vermagic=", section(module)?).next();
    let word = magic.and_then(|magic| magic.split_whitespace().next());
    Ok(word.map(str::to_owned))
}

fn section(module: &[u8]) -> Result<&[u8], object::Error> {
    let file: ElfFile64<'_> = ElfFile64::parse(module)?;
    let section = file.section_by_name_bytes(b".modinfo");
    section.map_or(Ok(&[][..]), |section| section.data())
}

/// Returns the values of a field that may be repeated.
fn texts_of<'a>(field: &'a str, modinfo: &'a [u8]) -> impl Iterator<Item = &'a str> {
    let texts = modinfo.split(|byte| *byte == 0);
    let texts = texts.filter_map(|text| std::str::from_utf8(text).ok());
    texts.filter_map(move |text| text.strip_prefix(field))
}

fn depends_in(modinfo: &[u8]) -> Vec<ModuleName> {
    let lists = texts_of("depends=", modinfo);
    lists
        .flat_map(|list| list.split(','))
        .filter(|name| !name.is_empty())
        .map(ModuleName::new)
        .collect()
}

#[cfg(test)]
mod tests {
    //! **Scope**: the text of the section. Builds of images read real modules.

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dependencies_are_found_among_the_other_fields() {
        let text = b"license=GPL\0depends=virtio,virtio-ring\0\0name=virtio_pci\0softdep=pre: x\0";
        let names = depends_in(text);
        assert_eq!(
            names,
            [ModuleName::new("virtio"), ModuleName::new("virtio_ring")]
        );
        assert!(depends_in(b"depends=\0").is_empty());
    }

    #[test]
    fn the_name_does_not_depend_on_the_compression() {
        let name = |path| ModuleName::of_path(path).map(|name| name.as_str().to_owned());
        assert_eq!(
            name("kernel/x/virtio-rng.ko").as_deref(),
            Some("virtio_rng")
        );
        assert_eq!(name("virtio_blk.ko.xz").as_deref(), Some("virtio_blk"));
        assert_eq!(name("kernel/x/a.kox"), None);
        assert_eq!(name("kernel/x.ko/readme"), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = depends(&bytes);
            let _ = depends_in(&bytes);
        }
    }
}

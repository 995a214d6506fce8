//! Kernel modules: the section `.modinfo` and the signature.

#![no_main]

#[allow(dead_code, reason = "the image builder uses the rest")]
#[path = "../../../iothread-it/vm/src/guest/image/modinfo.rs"]
mod modinfo;
#[path = "../../../iothread-it/vm/src/guest/image/signature.rs"]
mod signature;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|module: &[u8]| {
    if let Ok(names) = modinfo::depends(module) {
        assert!(names.len() <= module.len());
        assert!(
            names
                .iter()
                .all(|name| !name.as_str().is_empty() && !name.as_str().contains('-'))
        );
    }
    if let Ok(aliases) = modinfo::aliases(module) {
        assert!(aliases.iter().all(|alias| !alias.contains('\0')));
    }
    let mut unsigned = module.to_vec();
    signature::cut(&mut unsigned);
    assert!(module.starts_with(&unsigned));
});

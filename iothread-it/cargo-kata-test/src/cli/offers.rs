//! `cargo kata-test facts --places`: lists the kernels that VMs can have, and other places.

use anyhow::Result;
use comfy_table::Table;
use guest_vm::artifacts::{
    Flavour, KernelChoice, KernelOffer, Kernels, QemuChoice, QemuInstall, Wanted, has_kernel,
    kernels, provision_qemu, shown_size,
};
use kata_test_runner::{Config, Place as _, UsernsPlace};
use serde::Serialize;

use super::progress::PrintedProgress;
use super::store;
use super::table::with_headings;

/// Prints what the archive has now, or with `offline`, what the cache knows of it.
///
/// # Errors
/// If the archive cannot be read, or the cache does not know its kernels.
pub(super) fn print(choice: Option<&QemuChoice>, offline: bool, as_json: bool) -> Result<()> {
    let progress = &mut PrintedProgress::default();
    let store = store::open(offline)?;
    let lock = store.lock(progress)?;
    let kernels = kernels(&lock, !offline, progress)?;
    let qemu = choice.map(|choice| provision_qemu(choice, &lock, progress));
    let qemu = qemu.transpose()?;
    let rows = rows(&kernels, |offer| has_kernel(&store, offer));
    if as_json {
        let document = Document::of(&rows, qemu.as_ref().map(described), userns());
        println!("{}", serde_json::to_string_pretty(&document)?);
    } else {
        println!("{}", table(&rows));
        println!("userns: {}", userns().unwrap_or_else(|why| why));
        println!("{}", all(&kernels));
        if let Some(qemu) = qemu {
            println!("VMs have QEMU {}", described(&qemu));
        }
    }
    Ok(())
}

/// A kernel, and the places that have it.
struct Row<'a> {
    places: Vec<String>,
    offer: &'a KernelOffer,
    is_cached: bool,
}

fn rows(kernels: &Kernels, is_cached: impl Fn(&KernelOffer) -> bool) -> Vec<Row<'_>> {
    let row = |offer| Row {
        places: places(kernels, offer),
        is_cached: is_cached(offer),
        offer,
    };
    kernels.all().iter().map(row).collect()
}

/// Returns the places that have a kernel: that of its line, if no other suite has a newer one, and that of
/// its suite.
fn places(kernels: &Kernels, offer: &KernelOffer) -> Vec<String> {
    let line = KernelChoice {
        wanted: Wanted::Version(offer.line().to_owned()),
        flavour: offer.flavour,
    };
    let choices = [line, offer.choice()].into_iter();
    let names = choices.filter(|choice| kernels.find(choice).ok() == Some(offer));
    names.map(|choice| format!("vm:{choice}")).collect()
}

/// Describes the default set.
pub(super) fn all(kernels: &Kernels) -> String {
    let names = kernels.default_set().into_iter();
    let names: Vec<_> = names.map(|choice| format!("vm:{choice}")).collect();
    format!(
        "`all` stands for here, userns, {}: a kernel for each stable release, and the newest",
        names.join(", ")
    )
}

/// Describes root in a user namespace, or says why this host does not have it.
fn userns() -> Result<String, String> {
    match UsernsPlace::new(&Config::default()) {
        Ok(place) => Ok(place.about()),
        Err(error) => Err(format!("{:#}", anyhow::Error::new(error))),
    }
}

/// Formats the version of a QEMU, and its package.
fn described(qemu: &QemuInstall) -> String {
    format!("{}{}", qemu.version, qemu.origin.suffix())
}

/// What `--json` prints. The book's page `constraints/docs/records.md` is made from these types.
#[derive(Serialize)]
struct Document<'a> {
    /// The version of this form: 1.
    schema: u32,
    /// The kernels of the archive.
    kernels: Vec<KernelForm<'a>>,
    /// The version of the QEMU that `--qemu` chose, and its package.
    #[serde(skip_serializing_if = "Option::is_none")]
    qemu: Option<String>,
    /// The place `userns`.
    userns: UsernsForm,
}

#[derive(Serialize)]
struct KernelForm<'a> {
    /// The places that boot it.
    places: &'a [String],
    /// Its version.
    kernel: &'a str,
    /// The suite that has it.
    suite: &'a str,
    /// `cloud`, or `generic` for all machines.
    flavour: Flavour,
    /// The size of its packages, in bytes.
    bytes: u64,
    /// Whether it is in the cache.
    cached: bool,
}

#[derive(Serialize)]
struct UsernsForm {
    /// Whether this host has it.
    available: bool,
    /// What it is, or why there is none.
    about: String,
}

impl<'a> Document<'a> {
    fn of(rows: &'a [Row<'_>], qemu: Option<String>, userns: Result<String, String>) -> Self {
        let kernel = |row: &'a Row<'_>| KernelForm {
            places: &row.places,
            kernel: &row.offer.version,
            suite: &row.offer.suite,
            flavour: row.offer.flavour,
            bytes: row.offer.bytes(),
            cached: row.is_cached,
        };
        Self {
            schema: 1,
            kernels: rows.iter().map(kernel).collect(),
            qemu,
            userns: UsernsForm {
                available: userns.is_ok(),
                about: userns.unwrap_or_else(|why| why),
            },
        }
    }
}

fn table(rows: &[Row<'_>]) -> Table {
    let mut table = with_headings(["places", "kernel", "suite", "for", "download"]);
    for row in rows {
        let machines = match row.offer.flavour {
            Flavour::Cloud => "VMs",
            Flavour::Generic => "all machines",
        };
        let download = match row.is_cached {
            true => "in the cache".to_owned(),
            false => shown_size(row.offer.bytes()),
        };
        table.add_row([
            row.places.join("\n"),
            row.offer.version.clone(),
            row.offer.suite.clone(),
            machines.to_owned(),
            download,
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    //! **Scope**: output. guest-vm chooses the kernels.

    use serde_json::json;

    use super::*;

    #[test]
    fn each_kernel_has_the_places_that_boot_it() {
        let offer = |suite: &str, version: &str, flavour: &str, size: u64| {
            let package = json!({"file": "a_1_all.deb", "size": size, "sha256": "00"});
            json!({
                "suite": suite, "sources": [suite], "is_stable": suite == "trixie",
                "flavour": flavour, "version": version, "packages": [package],
            })
        };
        let kernels = json!([
            offer("bookworm-backports", "6.12.95", "cloud", 28_000_000),
            offer("trixie", "6.12.117", "cloud", 30_000_000),
            offer("trixie", "6.12.117", "generic", 110_000_000),
            offer("sid", "7.2.13", "cloud", 36_000_000),
        ]);
        let kernels: Kernels = serde_json::from_value(kernels).unwrap();
        let rows = rows(&kernels, |offer| offer.suite == "sid");
        insta::assert_snapshot!("table", format!("{}\n{}", table(&rows), all(&kernels)));
        let (qemu, userns) = (
            Some("10.0.2, sid's package 1".to_owned()),
            Ok("this host".to_owned()),
        );
        let document = serde_json::to_string_pretty(&Document::of(&rows, qemu, userns)).unwrap();
        insta::assert_snapshot!("json", document);
    }
}

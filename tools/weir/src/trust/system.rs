//! The system's store: a file in a folder, and a program that builds the bundle from it.
//!
//! In: the certificate and the place. Out: what was done; without root, the line to run.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use super::{
    Anchor, Machine, Outcome, Trust, base64_of,
    machine::{complaint, quoted},
    stores::SystemPlace,
};

/// Bundles that the programs of the system read.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ca-certificates/extracted/tls-ca-bundle.pem",
    "/var/lib/ca-certificates/ca-bundle.pem",
];

fn file(anchor: &Anchor, place: &SystemPlace) -> PathBuf {
    place.dir.join(format!("{}.{}", anchor.label, place.suffix))
}

/// Whether the file of this certificate is there, whole.
fn is_there(anchor: &Anchor, path: &Path) -> bool {
    fs::read_to_string(path).is_ok_and(|text| base64_of(&text) == anchor.base64())
}

pub(super) fn install(anchor: &Anchor, place: &SystemPlace, machine: &Machine, dry_run: bool) -> Outcome {
    let path = file(anchor, place);
    if is_there(anchor, &path) && status(anchor, place, machine) == Trust::Trusted {
        return Outcome::AlreadyThere;
    }
    let line = match &anchor.file {
        Some(file) => format!("sudo cp {} {} && sudo {}", quoted(file), quoted(&path), place.update),
        None => format!("printf '%s' '{}' | sudo tee {} && sudo {}", anchor.pem.trim(), quoted(&path), place.update),
    };
    if dry_run {
        return Outcome::Would(format!("write {} and run {}", path.display(), place.update));
    }
    match write(&path, &anchor.pem) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Outcome::NeedsRoot(line),
        Err(error) => Outcome::Failed(format!("cannot write {}: {error}", path.display())),
        Ok(()) => update(place, machine, Outcome::Added),
    }
}

pub(super) fn uninstall(anchor: &Anchor, place: &SystemPlace, machine: &Machine, dry_run: bool) -> Outcome {
    let path = file(anchor, place);
    if !path.exists() {
        return Outcome::NotThere;
    }
    if dry_run {
        return Outcome::Would(format!("remove {} and run {}", path.display(), place.update));
    }
    match fs::remove_file(&path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Outcome::NeedsRoot(format!("sudo rm {} && sudo {}", quoted(&path), place.update))
        }
        Err(error) => Outcome::Failed(format!("cannot remove {}: {error}", path.display())),
        Ok(()) => update(place, machine, Outcome::Removed),
    }
}

/// Trusted is what stands in the bundle, whoever put it there.
pub(super) fn status(anchor: &Anchor, place: &SystemPlace, machine: &Machine) -> Trust {
    let bundles: Vec<_> = BUNDLES.iter().filter_map(|bundle| fs::read_to_string(machine.at(bundle)).ok()).collect();
    if bundles.is_empty() {
        return Trust::Unknown(format!("there is no bundle of authorities; run: sudo {}", place.update));
    }
    let wanted = anchor.base64();
    let trusted = bundles.iter().all(|bundle| {
        bundle.split("-----BEGIN CERTIFICATE-----").any(|block| {
            let body = block.split("-----END").next().unwrap_or_default();
            base64_of(body) == wanted
        })
    });
    if trusted { Trust::Trusted } else { Trust::NotTrusted }
}

fn write(path: &Path, pem: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(path)?;
    file.write_all(pem.as_bytes())?;
    file.sync_all()
}

fn update(place: &SystemPlace, machine: &Machine, done: Outcome) -> Outcome {
    match machine.run(place.update, &[], "") {
        Ok(output) if output.status.success() => done,
        Ok(output) => {
            Outcome::Failed(format!("{}; run it yourself: sudo {}", complaint(place.update, &output), place.update))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Outcome::ProgramMissing(format!("install the package ca-certificates, then run: sudo {}", place.update))
        }
        Err(error) => Outcome::Failed(format!("cannot run {}: {error}", place.update)),
    }
}

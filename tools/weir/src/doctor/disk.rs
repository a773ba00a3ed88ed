//! Findings about the home: writable, closed to others, space.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use rustix::fs::{Access, access, statvfs};
use weir_storage::Home;

use super::Finding;
use crate::output::units;

/// Less free space than this deserves a look.
const LITTLE_SPACE: u64 = 1 << 30;

/// Looks at the home, or at where it would be made.
pub(super) fn check(home: &Home) -> Vec<Finding> {
    let root = home.root();
    let Some(there) = root.ancestors().find(|path| path.exists()) else {
        return vec![Finding::fail(
            "home_writable",
            format!("{} cannot be reached", root.display()),
            "give a folder of your own with --home DIR",
        )];
    };
    let mut findings = vec![writable(root, there)];
    if there == root {
        findings.push(closed(root));
    }
    findings.push(space(there));
    findings
}

fn writable(root: &Path, there: &Path) -> Finding {
    if !there.is_dir() {
        let message = format!("{} is a file, not a folder", there.display());
        return Finding::fail("home_writable", message, "give a folder of your own with --home DIR");
    }
    match access(there, Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) if there == root => Finding::ok("home_writable", format!("sessions are stored in {}", root.display())),
        Ok(()) => Finding::ok("home_writable", format!("{} will be made at the first capture", root.display())),
        Err(_) => Finding::fail(
            "home_writable",
            format!("{} may not be written to", there.display()),
            "give a folder of your own with --home DIR or WEIR_HOME",
        ),
    }
}

fn closed(root: &Path) -> Finding {
    let mode = fs::metadata(root).map(|metadata| metadata.permissions().mode() & 0o777);
    match mode {
        Ok(mode) if mode & 0o077 == 0 => Finding::ok("home_private", "the home is closed to other users"),
        Ok(mode) => Finding::warn(
            "home_private",
            format!("other users may look into the home (mode {mode:o}); sessions hold passwords and cookies"),
            format!("chmod 700 {}", crate::capture::welcome::quote(&root.display().to_string())),
        ),
        Err(error) => Finding::fail("home_private", error.to_string(), "check the permissions of the home"),
    }
}

fn space(there: &Path) -> Finding {
    match statvfs(there) {
        Ok(disk) => {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            let message = format!("{} free for sessions", units::bytes(free));
            if free < LITTLE_SPACE {
                Finding::warn("disk_space", message, "free some space, or give another place with --home DIR")
            } else {
                Finding::ok("disk_space", message)
            }
        }
        Err(error) => Finding::warn("disk_space", format!("the free space is not known: {error}"), "check the disk"),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::State, *};

    #[test]
    fn says_what_is_wrong() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let state = |findings: &[Finding], code| {
            findings.iter().find(|finding| finding.code == code).map(|finding| finding.state)
        };
        let fresh = check(&Home::at(folder.path().join("a/b")));
        assert_eq!(state(&fresh, "home_writable"), Some(State::Ok));
        assert_eq!(state(&fresh, "home_private"), None);
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("sets");
        assert_eq!(state(&check(&Home::at(folder.path())), "home_private"), Some(State::Warn));
        let file = folder.path().join("file");
        fs::write(&file, "x").expect("writes");
        assert_eq!(state(&check(&Home::at(file)), "home_writable"), Some(State::Fail));
    }
}

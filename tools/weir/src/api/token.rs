//! The token of a run: random, in a file of the owner's (0600) and in the printed link.
//!
//! In: the home and the session. Out: the token, and a file that goes when the run ends.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// A secret that whoever talks to the control API must know.
#[derive(Clone)]
pub(crate) struct Token(String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Token {
    /// 256 random bits from the kernel.
    pub(crate) fn generate() -> io::Result<Self> {
        let mut random = [0; 32];
        File::open("/dev/urandom")?.read_exact(&mut random)?;
        Ok(Self(random.iter().map(|byte| format!("{byte:02x}")).collect()))
    }

    /// The token as text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `given` is the token, in a time that tells nothing about where they differ.
    pub(crate) fn is(&self, given: &str) -> bool {
        let (mine, given) = (self.0.as_bytes(), given.as_bytes());
        mine.len() == given.len() && mine.iter().zip(given).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
    }
}

/// The file that carries the token of one session's run; removed when dropped.
#[derive(Debug)]
pub(crate) struct TokenFile {
    path: PathBuf,
}

impl TokenFile {
    /// Where the token of a session lies.
    pub(crate) fn path(home: &Path, session: &str) -> PathBuf {
        home.join("run").join(format!("{session}.token"))
    }

    /// Writes the token where the owner alone can read it.
    pub(crate) fn write(home: &Path, session: &str, token: &Token) -> io::Result<Self> {
        let path = Self::path(home, session);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(home.join("run"))?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(token.as_str().as_bytes())?;
        Ok(Self { path })
    }

    /// Reads the token of a running session.
    pub(crate) fn read(home: &Path, session: &str) -> io::Result<Token> {
        fs::read_to_string(Self::path(home, session)).map(|text| Token(text.trim().to_owned()))
    }

    /// Removes what a run that died left behind.
    pub(crate) fn sweep(home: &Path, session: &str) {
        let _ = fs::remove_file(Self::path(home, session));
    }
}

impl Drop for TokenFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_owners_alone_and_gone_afterwards() {
        let home = tempfile::tempdir().expect("temporary folder");
        let token = Token::generate().expect("random");
        let file = TokenFile::write(home.path(), "01X", &token).expect("writes");
        let path = TokenFile::path(home.path(), "01X");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        let read = TokenFile::read(home.path(), "01X").expect("reads");
        assert!(token.is(read.as_str()) && !token.is("") && !token.is(&token.as_str()[1..]));
        drop(file);
        assert!(!path.exists());
    }
}

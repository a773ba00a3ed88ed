//! The cookie jar: cookies of sessions and of your own that are sent again.
//!
//! In: cookies as sessions list them, Set-Cookie lines, Netscape files. Out: the Cookie field for a URL, a Netscape file, JSON.
//! One file in the home, its owner's alone: `jar.json`.

use std::{collections::BTreeMap, fmt::Write as _, fs, io};

use serde::{Deserialize, Serialize};
use weir_engine::{
    cookie::{SameSite, SetCookie, SetFrom, domain_matches, parse_set_cookie, path_matches},
    record::{Url, host::canonical},
};

use crate::{error::StorageError, files, home::Home, lock::FileLock, query::CookieRow, time::Timestamp};

/// Cookies in the jar at most.
const MOST: usize = 50_000;

/// A cookie in the jar.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JarCookie {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// Host or domain it is for.
    pub domain: String,
    /// For that host alone.
    pub host_only: bool,
    /// Path it is for.
    pub path: String,
    /// When it ends; none: it does not.
    pub expires: Option<Timestamp>,
    /// Only over TLS.
    pub secure: bool,
    /// Not for scripts.
    pub http_only: bool,
    /// `Strict`, `Lax`, `None`, where it said so.
    pub same_site: Option<String>,
}

impl From<CookieRow> for JarCookie {
    /// A cookie that was only ever sent is taken for the host it was sent to.
    fn from(row: CookieRow) -> Self {
        Self {
            name: row.name,
            value: row.value,
            domain: row.domain,
            host_only: row.host_only.unwrap_or(true),
            path: row.path,
            expires: row.expires,
            secure: row.secure,
            http_only: row.http_only,
            same_site: row.same_site,
        }
    }
}

impl From<SetCookie> for JarCookie {
    fn from(cookie: SetCookie) -> Self {
        Self {
            name: cookie.name,
            value: cookie.value,
            domain: cookie.domain,
            host_only: cookie.host_only,
            path: cookie.path,
            expires: cookie.expires_us.map(Timestamp),
            secure: cookie.secure,
            http_only: cookie.http_only,
            same_site: cookie.same_site.map(SameSite::as_str).map(str::to_owned),
        }
    }
}

impl JarCookie {
    /// Whether it has ended.
    #[must_use]
    pub fn has_ended(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    fn is_for(&self, host: &str, path: &str, secure: bool, now: Timestamp) -> bool {
        let host_matches = if self.host_only { host == self.domain } else { domain_matches(host, &self.domain) };
        host_matches && path_matches(path, &self.path) && (secure || !self.secure) && !self.has_ended(now)
    }
}

/// Cookies to send again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Jar {
    cookies: BTreeMap<(String, String, String), JarCookie>,
}

impl FromIterator<JarCookie> for Jar {
    fn from_iter<T: IntoIterator<Item = JarCookie>>(cookies: T) -> Self {
        let mut jar = Self::default();
        for cookie in cookies {
            jar.put(cookie);
        }
        jar
    }
}

impl Jar {
    /// The jar of a home; empty where there is none.
    ///
    /// # Errors
    /// [`StorageError::Io`], [`StorageError::Entry`].
    pub fn load(home: &Home) -> Result<Self, StorageError> {
        let path = home.jar_path();
        match fs::read(&path) {
            Ok(document) => {
                let cookies: Vec<JarCookie> =
                    serde_json::from_slice(&document).map_err(|source| StorageError::Entry { path, source })?;
                Ok(cookies.into_iter().collect())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(StorageError::io("read", path)(error)),
        }
    }

    /// Changes the jar of a home, and returns what `change` does.
    ///
    /// # Errors
    /// What [`load`](Self::load) may say; [`StorageError::Jar`] when it would hold too much.
    pub fn update<T>(home: &Home, change: impl FnOnce(&mut Self) -> T) -> Result<T, StorageError> {
        home.create()?;
        let _lock = FileLock::acquire(&home.catalogue_lock_path())?;
        let mut jar = Self::load(home)?;
        let done = change(&mut jar);
        if jar.cookies.len() > MOST {
            let sentence = format!("the jar would hold more than {MOST} cookies; take those of some domains only");
            return Err(StorageError::Jar(sentence));
        }
        let path = home.jar_path();
        let cookies: Vec<&JarCookie> = jar.iter().collect();
        let document =
            serde_json::to_vec_pretty(&cookies).map_err(|source| StorageError::Entry { path: path.clone(), source })?;
        files::replace(&path, &document)?;
        Ok(done)
    }

    /// Adds a cookie; one of the same domain, path and name makes room.
    pub fn put(&mut self, cookie: JarCookie) {
        self.cookies.insert((cookie.domain.clone(), cookie.path.clone(), cookie.name.clone()), cookie);
    }

    /// Adds what a response to `url` sets; one that has ended goes.
    ///
    /// # Errors
    /// A sentence where the line is no cookie, or one that a browser would not keep.
    pub fn set(&mut self, url: &Url, line: &str, now: Timestamp) -> Result<(), StorageError> {
        let secure = matches!(url.scheme(), "https" | "wss");
        let from = SetFrom { host: url.domain(), path: url.path(), secure, at_us: now.as_micros() };
        let Some(cookie) = parse_set_cookie(line.as_bytes(), from) else {
            return Err(StorageError::Jar(format!("'{line}' is no cookie; write name=value; Path=/; Secure")));
        };
        if let Some(refusal) = cookie.refusal {
            let why = refusal.as_str();
            let sentence = format!("a browser would not keep '{line}' from {} ({why}); mend it", url.as_str());
            return Err(StorageError::Jar(sentence));
        }
        let cookie = JarCookie::from(cookie);
        if cookie.has_ended(now) {
            self.cookies.remove(&(cookie.domain, cookie.path, cookie.name));
        } else {
            self.put(cookie);
        }
        Ok(())
    }

    /// Keeps the cookies that `keep` says; returns how many went.
    pub fn retain(&mut self, keep: impl Fn(&JarCookie) -> bool) -> usize {
        let before = self.cookies.len();
        self.cookies.retain(|_, cookie| keep(cookie));
        before - self.cookies.len()
    }

    /// All cookies, by domain, path and name.
    pub fn iter(&self) -> impl Iterator<Item = &JarCookie> {
        self.cookies.values()
    }

    /// The value of Cookie for a request, the longest paths first (RFC 6265bis §5.8.3); `None` where no cookie is for it.
    #[must_use]
    pub fn field_for(&self, url: &Url, now: Timestamp) -> Option<String> {
        let secure = matches!(url.scheme(), "https" | "wss");
        let mut cookies: Vec<&JarCookie> =
            self.iter().filter(|cookie| cookie.is_for(url.domain(), url.path(), secure, now)).collect();
        cookies.sort_by_key(|cookie| std::cmp::Reverse(cookie.path.len()));
        let pair = |cookie: &&JarCookie| match cookie.name.is_empty() {
            true => cookie.value.clone(),
            false => format!("{}={}", cookie.name, cookie.value),
        };
        (!cookies.is_empty()).then(|| cookies.iter().map(pair).collect::<Vec<_>>().join("; "))
    }

    /// As the file that curl, wget and browsers' tools read. Cookies that cannot stand in it (a tab or a line break in
    /// one of their parts) are left out; how many is the second value.
    #[must_use]
    pub fn to_netscape(&self) -> (String, usize) {
        let mut text = "# Netscape HTTP Cookie File\n# made by weir\n\n".to_owned();
        let mut left_out = 0;
        let word = |yes: bool| if yes { "TRUE" } else { "FALSE" };
        for cookie in self.iter() {
            let parts = [&cookie.name, &cookie.value, &cookie.domain, &cookie.path];
            if parts.iter().any(|part| part.contains(['\t', '\n', '\r', '\0'])) || cookie.name.is_empty() {
                left_out += 1;
                continue;
            }
            let marker = if cookie.http_only { "#HttpOnly_" } else { "" };
            let dot = if cookie.host_only { "" } else { "." };
            // Zero: with the session.
            let expires = cookie.expires.map_or(0, |expires| (expires.as_micros() / 1_000_000).max(1));
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "{marker}{dot}{}\t{}\t{}\t{}\t{expires}\t{}\t{}",
                cookie.domain,
                word(!cookie.host_only),
                cookie.path,
                word(cookie.secure),
                cookie.name,
                cookie.value
            );
        }
        (text, left_out)
    }

    /// The cookies of a Netscape file.
    ///
    /// # Errors
    /// [`StorageError::Jar`] with the line that is none.
    pub fn from_netscape(text: &str) -> Result<Self, StorageError> {
        let mut jar = Self::default();
        for (number, line) in text.lines().enumerate() {
            let (line, http_only) = match line.strip_prefix("#HttpOnly_") {
                Some(rest) => (rest, true),
                None => (line, false),
            };
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let fields: Vec<&str> = line.splitn(7, '\t').collect();
            let &[domain, subdomains, path, secure, expires, name, ref rest @ ..] = &*fields else {
                return Err(StorageError::Jar(format!(
                    "line {} is no cookie of a Netscape file: it has {} fields of 7; separate them with tabs",
                    number + 1,
                    fields.len()
                )));
            };
            let value = rest.first().copied().unwrap_or_default();
            let seconds: i64 = expires.parse().unwrap_or(0);
            jar.put(JarCookie {
                name: name.to_owned(),
                value: value.to_owned(),
                domain: canonical(domain.trim_start_matches('.')).into_owned(),
                host_only: !subdomains.eq_ignore_ascii_case("TRUE"),
                path: path.to_owned(),
                expires: (seconds > 0).then(|| Timestamp(seconds.saturating_mul(1_000_000))),
                secure: secure.eq_ignore_ascii_case("TRUE"),
                http_only,
                same_site: None,
            });
        }
        Ok(jar)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_700_000_000_000_000);

    fn url(text: &str) -> Url {
        Url::parse(text.into()).expect("parses")
    }

    fn jar() -> Jar {
        let mut jar = Jar::default();
        let from = url("https://www.example.com/app/page");
        for line in [
            "id=1; Domain=example.com; Path=/; Secure; HttpOnly",
            "deep=2; Path=/app/x",
            "page=3; Max-Age=60",
            "old=4; Max-Age=60",
        ] {
            jar.set(&from, line, NOW).expect("is kept");
        }
        jar.set(&from, "old=; Max-Age=0", NOW).expect("goes");
        jar
    }

    #[test]
    fn sends_what_is_meant_for_a_url() {
        let jar = jar();
        let field = |text: &str, now: Timestamp| jar.field_for(&url(text), now);
        assert_eq!(field("https://www.example.com/app/x/y", NOW).as_deref(), Some("deep=2; page=3; id=1"));
        assert_eq!(field("https://api.example.com/", NOW).as_deref(), Some("id=1"));
        assert_eq!(field("http://www.example.com/", NOW), None);
        assert_eq!(field("https://www.example.com/app", Timestamp(NOW.0 + 61_000_000)).as_deref(), Some("id=1"));
        let mut jar = jar.clone();
        assert!(jar.set(&url("https://a.example/"), "x=1; Domain=com", NOW).is_err());
        assert_eq!(jar.retain(|cookie| cookie.name != "deep"), 1);
    }

    #[test]
    fn the_netscape_file_and_back() {
        let mut jar = jar();
        let one = jar.iter().next().expect("one").clone();
        jar.put(JarCookie { name: "tab".into(), value: "a\tb".into(), ..one });
        let (text, left_out) = jar.to_netscape();
        assert_eq!(left_out, 1);
        assert!(text.contains("#HttpOnly_.example.com\tTRUE\t/\tTRUE\t0\tid\t1\n"), "{text}");
        assert!(text.contains("\nwww.example.com\tFALSE\t/app\tFALSE\t1700000060\tpage\t3\n"), "{text}");
        jar.retain(|cookie| cookie.name != "tab");
        assert_eq!(Jar::from_netscape(&text).expect("reads"), jar);
        assert!(Jar::from_netscape("a b c").is_err());
    }

    #[test]
    fn is_kept_in_the_home() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let home = Home::at(folder.path().join("home"));
        let cookies: Vec<JarCookie> = jar().iter().cloned().collect();
        Jar::update(&home, |jar| cookies.into_iter().for_each(|cookie| jar.put(cookie))).expect("writes");
        assert_eq!(Jar::load(&home).expect("loads"), jar());
    }
}

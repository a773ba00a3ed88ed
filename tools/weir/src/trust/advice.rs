//! Lines for what cannot be done from here: other systems, and languages with a store of their own.
//!
//! In: where the certificate lies. Out: a title and lines to paste, for each.

use std::path::Path;

use super::{Anchor, machine::quoted};

/// Lines to paste, and what for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Advice {
    /// For whom.
    pub(crate) title: &'static str,
    /// The lines.
    pub(crate) lines: Vec<String>,
}

/// What to paste on other systems and for languages, given the certificate's file (PEM).
pub(crate) fn lines(anchor: &Anchor, certificate: &Path) -> Vec<Advice> {
    let file = quoted(certificate);
    let label = &anchor.label;
    vec![
        Advice {
            title: "macOS",
            lines: vec![
                format!("security add-trusted-cert -r trustRoot -k ~/Library/Keychains/login.keychain-db {file}"),
                format!("security remove-trusted-cert {file}    # to undo it"),
            ],
        },
        Advice {
            title: "Windows",
            lines: vec![
                "certutil -user -addstore Root weir-proxy-ca.crt".to_owned(),
                "certutil -user -delstore Root \"weir CA\"    # to undo it".to_owned(),
            ],
        },
        Advice {
            title: "Java",
            lines: vec![
                format!("keytool -importcert -cacerts -storepass changeit -noprompt -alias {label} -file {file}"),
                format!("keytool -delete -cacerts -storepass changeit -alias {label}    # to undo it"),
            ],
        },
        Advice { title: "Node", lines: vec![format!("export NODE_EXTRA_CA_CERTS={file}")] },
        Advice {
            title: "Python",
            lines: vec![format!("export REQUESTS_CA_BUNDLE={file}"), format!("export SSL_CERT_FILE={file}")],
        },
        Advice { title: "curl", lines: vec![format!("export CURL_CA_BUNDLE={file}")] },
    ]
}

//! The words for what went wrong with TLS: a stable code for the row, a sentence with what to do for people.
//!
//! In: errors of rustls and of sockets. Out: [`ClientTlsError`], [`UpstreamTlsError`], and for what keeps the
//! proxy from starting [`TlsSetupError`]. Pure.

use std::{io, path::PathBuf};

use bytestring::ByteString;
use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};
use weir_engine::record::{Fault, TlsDetails};

use super::{pinned::Outcome, upstream::CertificateFacts};

/// What keeps the TLS side from being set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsSetupError {
    /// A passthrough rule cannot be read.
    #[error(
        "{rule:?} is no passthrough rule; write a host, *.suffix, an address or address/bits, each with :port where wanted"
    )]
    BadPassthrough {
        /// The rule as given.
        rule: String,
    },
    /// A file with authorities cannot be read.
    #[error("cannot read the authorities in {}: {reason}; give a PEM file with CERTIFICATE blocks to --upstream-ca", path.display())]
    ExtraCa {
        /// The file.
        path: PathBuf,
        /// What was wrong.
        reason: String,
    },
    /// rustls refused the configuration.
    #[error("TLS cannot be set up: {0}; please report this")]
    Rustls(#[from] Error),
}

/// TLS with a client failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{detail}")]
pub struct ClientTlsError {
    /// [`Fault::ClientRefusedCa`] or [`Fault::ClientTlsFailed`].
    pub fault: Fault,
    /// What happened and what to do.
    pub detail: String,
    /// Name the client asked for, when its hello was read.
    pub sni: Option<ByteString>,
    /// What it says about the client's trust, for [`Pinned`](super::pinned::Pinned).
    pub outcome: Option<Outcome>,
    /// What had been settled by then.
    pub tls: Box<TlsDetails>,
}

impl ClientTlsError {
    pub(super) fn failed(detail: impl Into<String>) -> Self {
        Self { fault: Fault::ClientTlsFailed, detail: detail.into(), sni: None, outcome: None, tls: Box::default() }
    }

    /// From the error of a handshake in which our certificate had been sent.
    pub(super) fn of_handshake(error: &io::Error, host: &str) -> Self {
        let refused = |outcome, how: String| Self {
            fault: Fault::ClientRefusedCa,
            detail: format!(
                "The client does not trust weir's CA for {host}: {how}. Install the CA on it (http://weir.proxy/ or \
                 `weir ca install`), or let the host through with --passthrough {host}."
            ),
            outcome: Some(outcome),
            ..Self::failed("")
        };
        match rustls_error(error) {
            Some(Error::AlertReceived(alert)) if is_about_certificate(*alert) => {
                refused(Outcome::Refused, format!("it sent the alert {}", alert_name(*alert)))
            }
            Some(Error::AlertReceived(AlertDescription::CloseNotify | AlertDescription::UserCanceled)) => {
                refused(Outcome::ClosedInHandshake, "it closed the connection right after our certificate".to_owned())
            }
            Some(Error::AlertReceived(alert)) => {
                Self::failed(format!("The client ended the handshake with the alert {}.", alert_name(*alert)))
            }
            Some(Error::PeerIncompatible(
                PeerIncompatible::Tls12NotOfferedOrEnabled | PeerIncompatible::Tls12NotOffered,
            )) => Self::failed("The client offers neither TLS 1.2 nor TLS 1.3; older versions are not spoken."),
            Some(error) => Self::failed(format!("TLS with the client failed: {error}.")),
            None => match error.kind() {
                io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => refused(
                    Outcome::ClosedInHandshake,
                    "it closed the connection right after our certificate".to_owned(),
                ),
                _ => Self::failed(format!("TLS with the client failed: {error}.")),
            },
        }
    }
}

/// Alerts by which a client says that it does not take our certificate (RFC 8446 §6.2).
fn is_about_certificate(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::NoCertificate
            | AlertDescription::AccessDenied
            | AlertDescription::BadCertificateHashValue
            | AlertDescription::BadCertificateStatusResponse
    )
}

/// Whether an error while reading a decrypted connection says that the client does not take our certificate:
/// some clients send the alert only after the handshake is complete from our side.
#[must_use]
pub fn is_refusal(error: &io::Error) -> bool {
    matches!(rustls_error(error), Some(Error::AlertReceived(alert)) if is_about_certificate(*alert))
}

/// The name in the RFCs: `unknown_ca`.
fn alert_name(alert: AlertDescription) -> String {
    let name = alert.as_str().map_or_else(|| format!("{alert:?}"), str::to_owned);
    let mut words = String::with_capacity(name.len() + 4);
    let mut before = None::<char>;
    for c in name.chars() {
        if c.is_ascii_uppercase() && before.is_some_and(|before| before.is_ascii_lowercase()) {
            words.push('_');
        }
        words.push(c.to_ascii_lowercase());
        before = Some(c);
    }
    words
}

/// The rustls error inside an I/O error.
fn rustls_error(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

/// TLS with a server failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{detail}")]
pub struct UpstreamTlsError {
    /// The code for the row.
    pub fault: Fault,
    /// What happened and what to do.
    pub detail: String,
    /// The certificate the server showed, when it came that far.
    pub certificate: Option<Box<CertificateFacts>>,
}

impl UpstreamTlsError {
    pub(super) fn failed(detail: String) -> Self {
        Self { fault: Fault::UpstreamTlsFailed, detail, certificate: None }
    }

    /// From the error of a handshake with a server.
    pub(super) fn of_handshake(error: &io::Error, host: &str) -> Self {
        let Some(error) = rustls_error(error) else {
            return match error.kind() {
                io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                    Self::failed(format!(
                        "{host} closed the connection during the TLS handshake. It may speak no TLS on this port, or only \
                         versions before TLS 1.2."
                    ))
                }
                _ => Self::failed(format!("The TLS handshake with {host} failed: {error}.")),
            };
        };
        match error {
            Error::InvalidCertificate(CertificateError::Other(other)) => match other.0.downcast_ref::<Self>() {
                Some(rejected) => rejected.clone(),
                None => Self::of_certificate(&CertificateError::Other(other.clone()), host, None),
            },
            Error::InvalidCertificate(reason) => Self::of_certificate(reason, host, None),
            Error::AlertReceived(AlertDescription::CertificateRequired) => Self::failed(format!(
                "{host} asks for a client certificate, which weir has not. Use --passthrough {host}."
            )),
            Error::AlertReceived(alert @ (AlertDescription::ProtocolVersion | AlertDescription::HandshakeFailure)) => {
                Self::failed(format!(
                    "{host} accepts none of the TLS versions and ciphers weir offers (alert {}); TLS 1.2 or 1.3 is needed.",
                    alert_name(*alert)
                ))
            }
            Error::AlertReceived(alert) => {
                Self::failed(format!("{host} ended the TLS handshake with the alert {}.", alert_name(*alert)))
            }
            Error::PeerIncompatible(_) => {
                Self::failed(format!("{host} accepts none of the TLS versions and ciphers weir offers: {error}."))
            }
            Error::InvalidMessage(InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion) => {
                Self::failed(format!("{host} does not speak TLS on this port. Use http:// for it."))
            }
            error => Self::failed(format!("The TLS handshake with {host} failed: {error}.")),
        }
    }

    /// From what was wrong with a server's certificate.
    pub(super) fn of_certificate(
        reason: &CertificateError,
        host: &str,
        certificate: Option<Box<CertificateFacts>>,
    ) -> Self {
        const GO_ON: &str = "To go on without verification: --insecure-upstream.";
        let unknown = || "unknown".to_owned();
        let facts = certificate.as_deref();
        let issuer = facts.and_then(|facts| facts.issuer.as_ref()).map_or_else(unknown, ToString::to_string);
        let self_issued = facts.is_some_and(|facts| facts.subject.is_some() && facts.subject == facts.issuer);
        let (fault, detail) = match reason {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                let when = facts.and_then(|facts| facts.not_after.as_ref()).map_or_else(unknown, ToString::to_string);
                let fault = Fault::UpstreamCertificateExpired;
                (
                    fault,
                    format!("The certificate of {host} has expired ({when}); its operator has to renew it. {GO_ON}"),
                )
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                let names = match reason {
                    CertificateError::NotValidForNameContext { presented, .. } if !presented.is_empty() => {
                        let mut names: Vec<_> = presented.iter().take(8).map(String::as_str).collect();
                        if presented.len() > names.len() {
                            names.push("…");
                        }
                        names.join(", ")
                    }
                    _ => "no name at all".to_owned(),
                };
                let fault = Fault::UpstreamCertificateName;
                (fault, format!("The certificate of {host} is for other names ({names}); check the host. {GO_ON}"))
            }
            // webpki refuses a CA certificate as a server's before it asks who issued it.
            _ if matches!(reason, CertificateError::UnknownIssuer) || self_issued => {
                let fault = Fault::UpstreamCertificateUnknownIssuer;
                let what = if self_issued { "is self-signed".to_owned() } else { format!("was issued by {issuer}") };
                (
                    fault,
                    format!(
                        "The certificate of {host} {what}, which this machine does not trust. Trust it with --upstream-ca FILE. {GO_ON}"
                    ),
                )
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                let fault = Fault::UpstreamCertificateInvalid;
                (fault, format!("The certificate of {host} is not valid yet; check this machine's clock. {GO_ON}"))
            }
            other => {
                let fault = Fault::UpstreamCertificateInvalid;
                (fault, format!("The certificate of {host} is not acceptable: {}. {GO_ON}", Error::from(other.clone())))
            }
        };
        Self { fault, detail, certificate }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn io(error: Error) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }

    #[test]
    fn refusals_are_told_from_other_failures() {
        let of = |error: io::Error| ClientTlsError::of_handshake(&error, "a.example");
        let refused = of(io(Error::AlertReceived(AlertDescription::UnknownCA)));
        assert_eq!((refused.fault, refused.outcome), (Fault::ClientRefusedCa, Some(Outcome::Refused)));
        assert!(refused.detail.contains("unknown_ca") && refused.detail.contains("--passthrough a.example"));
        let silent = of(io::ErrorKind::UnexpectedEof.into());
        assert_eq!((silent.fault, silent.outcome), (Fault::ClientRefusedCa, Some(Outcome::ClosedInHandshake)));
        for other in [
            io(Error::AlertReceived(AlertDescription::HandshakeFailure)),
            io(Error::DecryptError),
            io::ErrorKind::TimedOut.into(),
        ] {
            let failed = of(other);
            assert_eq!((failed.fault, failed.outcome), (Fault::ClientTlsFailed, None), "{failed}");
        }
    }

    #[test]
    fn upstream_failures_say_what_to_do() {
        let of = |error: io::Error| UpstreamTlsError::of_handshake(&error, "a.example");
        for (error, fault, says) in [
            (io(Error::InvalidCertificate(CertificateError::Expired)), Fault::UpstreamCertificateExpired, "renew"),
            (io(Error::InvalidCertificate(CertificateError::NotValidForName)), Fault::UpstreamCertificateName, "names"),
            (
                io(Error::InvalidCertificate(CertificateError::UnknownIssuer)),
                Fault::UpstreamCertificateUnknownIssuer,
                "--upstream-ca",
            ),
            (
                io(Error::InvalidCertificate(CertificateError::BadSignature)),
                Fault::UpstreamCertificateInvalid,
                "--insecure-upstream",
            ),
            (
                io(Error::AlertReceived(AlertDescription::CertificateRequired)),
                Fault::UpstreamTlsFailed,
                "client certificate",
            ),
            (io(Error::InvalidMessage(InvalidMessage::InvalidContentType)), Fault::UpstreamTlsFailed, "http://"),
            (io::ErrorKind::UnexpectedEof.into(), Fault::UpstreamTlsFailed, "closed the connection"),
        ] {
            let failed = of(error);
            assert_eq!(failed.fault, fault);
            assert!(failed.detail.contains(says), "{failed}");
        }
    }
}

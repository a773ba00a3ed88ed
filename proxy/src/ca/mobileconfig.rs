//! The CA certificate as an Apple configuration profile: one root-certificate payload.
//!
//! In: DER, a name, the fingerprint. Out: an XML property list. The identifiers derive from the
//! fingerprint, so that installing the profile of the same CA again replaces it.

use super::encoding;

/// The profile.
pub(super) fn encode(certificate: &[u8], name: &str, fingerprint: &[u8; 32]) -> String {
    let mut data = String::new();
    encoding::push_base64_lines(&mut data, certificate, 64, "      ");
    let name = escape(name);
    let short: String = fingerprint[..6].iter().map(|byte| format!("{byte:02x}")).collect();
    let (profile, payload) = (uuid(fingerprint, 1), uuid(fingerprint, 2));
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
  <key>PayloadType</key><string>Configuration</string>
  <key>PayloadVersion</key><integer>1</integer>
  <key>PayloadIdentifier</key><string>weir.ca.{short}</string>
  <key>PayloadUUID</key><string>{profile}</string>
  <key>PayloadDisplayName</key><string>{name}</string>
  <key>PayloadDescription</key><string>Lets weir read the TLS traffic of this device while it is the proxy. After installing, switch it on under Settings, General, About, Certificate Trust Settings.</string>
  <key>PayloadOrganization</key><string>weir</string>
  <key>PayloadRemovalDisallowed</key><false/>
  <key>PayloadContent</key>
  <array>
    <dict>
      <key>PayloadType</key><string>com.apple.security.root</string>
      <key>PayloadVersion</key><integer>1</integer>
      <key>PayloadIdentifier</key><string>weir.ca.{short}.certificate</string>
      <key>PayloadUUID</key><string>{payload}</string>
      <key>PayloadDisplayName</key><string>{name}</string>
      <key>PayloadCertificateFileName</key><string>weir-proxy-ca.crt</string>
      <key>PayloadContent</key>
      <data>
{data}      </data>
    </dict>
  </array>
</dict>
</plist>
"#
    )
}

/// A name-based UUID (RFC 9562 §5.8, version 8: our own way of deriving it).
fn uuid(fingerprint: &[u8; 32], purpose: u8) -> String {
    let mut input = fingerprint.to_vec();
    input.push(purpose);
    let mut bytes = encoding::sha256(&input);
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes[..16].iter().map(|byte| format!("{byte:02X}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

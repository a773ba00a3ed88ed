//! XML and HTML, an element a line where it holds elements.

/// Elements of HTML without an end.
const VOID: [&str; 14] =
    ["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr"];
/// Elements of HTML whose content is no markup, or whose white space counts.
const RAW: [&str; 4] = ["script", "style", "pre", "textarea"];
/// Deeper than this is not indented further.
const DEEPEST: usize = 40;

/// A piece of markup.
#[derive(Debug, PartialEq, Eq)]
enum Piece<'a> {
    Open(&'a str),
    Close(&'a str),
    Single(&'a str),
    Text(&'a str),
}

/// The text with two blanks a level; `None` where it holds no markup.
pub(super) fn indent(text: &str, html: bool) -> Option<String> {
    let pieces = pieces(text, html);
    if !pieces.iter().any(|piece| !matches!(piece, Piece::Text(_))) {
        return None;
    }
    let mut out = String::with_capacity(text.len() * 5 / 4);
    let mut depth = 0_usize;
    let mut index = 0;
    while let Some(piece) = pieces.get(index) {
        match (piece, pieces.get(index + 1), pieces.get(index + 2)) {
            // <a>text</a> and <a></a> stay on a line.
            (Piece::Open(open), Some(Piece::Text(text)), Some(Piece::Close(close))) if !text.contains('\n') => {
                line(&mut out, depth, &[open, text, close]);
                index += 2;
            }
            (Piece::Open(open), Some(Piece::Close(close)), _) => {
                line(&mut out, depth, &[open, close]);
                index += 1;
            }
            (Piece::Open(open), ..) => {
                line(&mut out, depth, &[open]);
                depth += 1;
            }
            (Piece::Close(close), ..) => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth, &[close]);
            }
            (Piece::Single(text) | Piece::Text(text), ..) => line(&mut out, depth, &[text]),
        }
        index += 1;
    }
    Some(out)
}

fn line(out: &mut String, depth: usize, texts: &[&str]) {
    if !out.is_empty() {
        out.push('\n');
    }
    out.extend(std::iter::repeat_n("  ", depth.min(DEEPEST)));
    texts.iter().for_each(|text| out.push_str(text));
}

fn pieces(text: &str, html: bool) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let Some(start) = rest.find('<') else {
            push_text(&mut pieces, rest);
            break;
        };
        push_text(&mut pieces, &rest[..start]);
        rest = &rest[start..];
        let len = tag_len(rest);
        let (tag, after) = rest.split_at(len);
        rest = after;
        let name = tag_name(tag);
        if tag.starts_with("<!") || tag.starts_with("<?") || tag.ends_with("/>") {
            pieces.push(Piece::Single(tag));
        } else if tag.starts_with("</") {
            pieces.push(Piece::Close(tag));
        } else if html && VOID.iter().any(|void| name.eq_ignore_ascii_case(void)) {
            pieces.push(Piece::Single(tag));
        } else if html && RAW.iter().any(|raw| name.eq_ignore_ascii_case(raw)) {
            let end = find_close(rest, name).unwrap_or(rest.len());
            pieces.push(Piece::Open(tag));
            if !rest[..end].trim().is_empty() {
                pieces.push(Piece::Text(&rest[..end]));
            }
            rest = &rest[end..];
        } else {
            pieces.push(Piece::Open(tag));
        }
    }
    pieces
}

fn push_text<'a>(pieces: &mut Vec<Piece<'a>>, text: &'a str) {
    let text = text.trim();
    if !text.is_empty() {
        pieces.push(Piece::Text(text));
    }
}

/// Bytes of the tag, comment or CDATA section at the start; all there is where it does not end.
fn tag_len(text: &str) -> usize {
    for (start, end) in [("<!--", "-->"), ("<![CDATA[", "]]>"), ("<?", "?>")] {
        if text.starts_with(start) {
            return text.find(end).map_or(text.len(), |at| at + end.len());
        }
    }
    let mut quote = None;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match (quote, byte) {
            (None, b'>') => return at + 1,
            (None, b'"' | b'\'') => quote = Some(byte),
            (Some(open), byte) if open == byte => quote = None,
            _ => {}
        }
    }
    text.len()
}

fn tag_name(tag: &str) -> &str {
    let inner = tag.trim_start_matches(['<', '/']);
    &inner[..inner.find(|c: char| c.is_whitespace() || matches!(c, '>' | '/')).unwrap_or(inner.len())]
}

fn find_close(text: &str, name: &str) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = text[from..].find("</") {
        let at = from + at;
        let after = &text[at + 2..];
        if after.get(..name.len()).is_some_and(|found| found.eq_ignore_ascii_case(name)) {
            return Some(at);
        }
        from = at + 2;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_get_lines() {
        let shown = indent("<?xml version='1.0'?><a x='>'><b>one</b><c/><!-- < --><d><e></e>two</d></a>", false);
        let expected = "<?xml version='1.0'?>\n<a x='>'>\n  <b>one</b>\n  <c/>\n  <!-- < -->\n  <d>\n    <e></e>\n    two\n  </d>\n</a>";
        assert_eq!(shown.as_deref(), Some(expected));
        assert_eq!(indent("no markup", true), None);
    }

    #[test]
    fn html_has_voids_and_raw_text() {
        let shown = indent("<!doctype html><p>a<br>b<script>if (a<b) {}</script></p>", true).expect("markup");
        assert_eq!(shown, "<!doctype html>\n<p>\n  a\n  <br>\n  b\n  <script>if (a<b) {}</script>\n</p>");
        assert!(indent("<a <b></", true).is_some());
    }
}

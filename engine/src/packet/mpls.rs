//! MPLS (RFC 3032): labels until the bottom of the stack; what follows is guessed as others do.

use super::{Layer, Next, Skip, from};

pub(crate) fn mpls(mut data: &[u8]) -> Result<Next<'_>, Skip> {
    loop {
        let bottom = data.get(2).ok_or(Skip::Truncated)? & 1 == 1;
        data = from(data, 4)?;
        if bottom {
            break;
        }
    }
    match data.first().ok_or(Skip::Truncated)? >> 4 {
        4 | 6 => Ok(Next { layer: Layer::Ip, data }),
        // A pseudowire control word (RFC 4385), then Ethernet.
        0 if data.len() > 18 => Ok(Next { layer: Layer::Ethernet, data: &data[4..] }),
        _ => Ok(Next { layer: Layer::Ethernet, data }),
    }
}

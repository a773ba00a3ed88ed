//! Filter expressions ("tcp port 8080", man pcap-filter) as classic BPF programs for packet sockets.
//!
//! In: an expression. Out: a program that libpcap compiled, for interfaces with an Ethernet header and for those that
//! begin with IP: which of them a frame came from is asked at the program's beginning, so that it serves `any` too.
//! The kernel takes VLAN tags off before a filter sees the frame: `vlan` matches only tags inside tags.

use pcap::{BpfInstruction, Capture, Linktype};

use super::{Instruction, LiveError};

/// Load half a word from an absolute offset.
const LOAD_HALF: u16 = 0x28;
/// Jump when equal to a constant.
const JUMP_EQUAL: u16 = 0x15;
/// Jump always.
const JUMP: u16 = 0x05;
/// Return a constant: how many bytes of the frame are let in.
const RETURN: u16 = 0x06;
/// The hardware type of the interface, which the kernel offers at a negative offset.
const HARDWARE_TYPE: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_HATYPE) as u32;
/// All of a frame.
const WHOLE: u32 = u32::MAX;

/// Compiles an expression.
///
/// # Errors
/// When libpcap does not understand it.
pub fn compile(expression: &str) -> Result<Vec<Instruction>, LiveError> {
    let refused = |reason: String| LiveError::Filter { expression: expression.to_owned(), reason };
    let ethernet = compile_for(Linktype::ETHERNET, expression).map_err(refused)?;
    // What only Ethernet has (addresses of cards) matches nothing where there is none.
    let raw = compile_for(Linktype(12), expression)
        .unwrap_or_else(|_| vec![Instruction { code: RETURN, jump_true: 0, jump_false: 0, operand: 0 }]);
    let equal = |hardware: u16, jump_true| Instruction {
        code: JUMP_EQUAL,
        jump_true,
        jump_false: 0,
        operand: u32::from(hardware),
    };
    let mut program = vec![
        Instruction { code: LOAD_HALF, jump_true: 0, jump_false: 0, operand: HARDWARE_TYPE },
        equal(libc::ARPHRD_ETHER, 2),
        equal(libc::ARPHRD_LOOPBACK, 1),
        Instruction { code: JUMP, jump_true: 0, jump_false: 0, operand: ethernet.len() as u32 },
    ];
    program.extend(ethernet);
    program.extend(raw);
    Ok(program)
}

/// The program for one link type; jumps in it are relative, so it can stand anywhere.
fn compile_for(link: Linktype, expression: &str) -> Result<Vec<Instruction>, String> {
    let handle = Capture::dead(link).map_err(|error| error.to_string())?;
    let program = handle.compile(expression, true).map_err(|error| error.to_string())?;
    program.get_instructions().iter().map(|one| read(one).ok_or_else(|| format!("odd instruction {one}"))).collect()
}

/// The library shows its instructions only as text: code, two jumps, operand.
fn read(instruction: &BpfInstruction) -> Option<Instruction> {
    let text = instruction.to_string();
    let mut fields = text.split(' ').map(str::parse::<u32>);
    let mut next = || fields.next()?.ok();
    let (code, jump_true, jump_false, operand) = (next()?, next()?, next()?, next()?);
    let code = u16::try_from(code).ok()?;
    // A match lets in the whole frame, not what a snap length says.
    let operand = if code == RETURN && operand > 0 { WHOLE } else { operand };
    Some(Instruction { code, jump_true: jump_true.try_into().ok()?, jump_false: jump_false.try_into().ok()?, operand })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_interfaces_and_whole_frames() {
        let program = compile("tcp port 8080").expect("compiles");
        assert_eq!(program[0].operand, HARDWARE_TYPE);
        let raw_at = 4 + program[3].operand as usize;
        assert!(raw_at < program.len());
        let returns: Vec<u32> = program.iter().filter(|one| one.code == RETURN).map(|one| one.operand).collect();
        assert_eq!(returns.iter().filter(|one| **one == WHOLE).count(), 2, "{returns:?}");
        assert!(returns.iter().all(|one| [0, WHOLE].contains(one)));
        assert!(compile("ether host 00:00:00:00:00:01").is_ok());
    }

    #[test]
    fn nonsense_is_named() {
        let error = compile("tcp prot 8080").expect_err("refused").to_string();
        assert!(error.starts_with("the packet filter \"tcp prot 8080\" is not understood: "), "{error}");
    }
}

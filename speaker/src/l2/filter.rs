//! Socket filters (classic BPF): of all that an interface receives, only what may concern us wakes
//! a thread.
//!
//! A filter here is a list of checks that must all hold; each loads one field and compares it
//! with the allowed values. Beside bytes of the frame, two facts of the kernel are checked:
//!
//! - the packet type: a frame for another station, or one that still carries the tag of a VLAN
//!   which has no interface here, is marked `OTHERHOST`;
//! - the interface: a socket on `eth0` is also shown what is really received by VLANs and macvlans
//!   on top of it, without the tag, and would answer into the wrong network.

use socket2::SockFilter;

/// Passes the whole frame.
const PASS: u32 = u32::MAX;

// linux/bpf_common.h
const LD_WORD: u16 = 0x20;
const LD_HALF: u16 = 0x28;
const LD_BYTE: u16 = 0x30;
const JUMP_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;

// linux/filter.h: negative offsets load what the kernel knows about the packet.
const AD_OFF: u32 = 0xffff_f000;
const AD_PACKET_TYPE: u32 = AD_OFF + 4;
const AD_INTERFACE: u32 = AD_OFF + 8;

/// `PACKET_HOST`, `PACKET_BROADCAST`, `PACKET_MULTICAST`: all that is received for this station.
const FOR_US: [u32; 3] = [0, 1, 2];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Instruction {
    code: u16,
    jump_true: u8,
    jump_false: u8,
    operand: u32,
}

/// ARP requests and replies for IPv4 over Ethernet.
pub(super) fn arp(index: u32) -> Vec<SockFilter> {
    compile(&[
        (LD_WORD, AD_INTERFACE, &[index]),
        (LD_BYTE, AD_PACKET_TYPE, &FOR_US),
        (LD_HALF, 12, &[0x0806]),
        (LD_WORD, 14, &[0x0001_0800]),              // Ethernet, IPv4
        (LD_WORD, 18, &[0x0604_0001, 0x0604_0002]), // lengths; request, reply
    ])
}

/// Neighbour solicitations and advertisements that no router has passed on.
pub(super) fn ndp(index: u32) -> Vec<SockFilter> {
    compile(&[
        (LD_WORD, AD_INTERFACE, &[index]),
        (LD_BYTE, AD_PACKET_TYPE, &FOR_US),
        (LD_HALF, 12, &[0x86dd]),
        (LD_HALF, 20, &[0x3aff]), // ICMPv6, hop limit 255
        (LD_BYTE, 54, &[135, 136]),
    ])
}

fn compile(checks: &[Check<'_>]) -> Vec<SockFilter> {
    program(checks)
        .into_iter()
        .map(|it| SockFilter::new(it.code, it.jump_true, it.jump_false, it.operand))
        .collect()
}

/// How to load a field, where it is, and the values that let the frame pass.
type Check<'a> = (u16, u32, &'a [u32]);

fn program(checks: &[Check<'_>]) -> Vec<Instruction> {
    let plain = |code, operand| Instruction {
        code,
        jump_true: 0,
        jump_false: 0,
        operand,
    };
    let mut program = Vec::new();
    for (load, at, values) in checks {
        program.push(plain(*load, *at));
        // A match jumps over the comparisons that are left and over the refusal behind them.
        for (left, value) in (1u8..=u8::MAX).rev().skip(255 - values.len()).zip(*values) {
            program.push(Instruction {
                jump_true: left,
                ..plain(JUMP_EQUAL, *value)
            });
        }
        program.push(plain(RETURN, 0));
    }
    program.push(plain(RETURN, PASS));
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The few instructions that are used, as the kernel runs them.
    fn passes(checks: &[Check<'_>], frame: &[u8], packet_type: u32, interface: u32) -> bool {
        let program = program(checks);
        let (mut at, mut value) = (0, 0);
        loop {
            let it = program[at];
            let size = match it.code {
                LD_WORD => 4,
                LD_HALF => 2,
                LD_BYTE => 1,
                JUMP_EQUAL => {
                    let jump = if value == it.operand {
                        it.jump_true
                    } else {
                        it.jump_false
                    };
                    at += 1 + usize::from(jump);
                    continue;
                }
                RETURN => return it.operand > 0,
                other => panic!("instruction {other:#x}"),
            };
            value = match it.operand {
                AD_PACKET_TYPE => packet_type,
                AD_INTERFACE => interface,
                offset => {
                    let from = usize::try_from(offset).unwrap();
                    // A load behind the end of the frame refuses it.
                    let Some(bytes) = frame.get(from..from + size) else {
                        return false;
                    };
                    bytes
                        .iter()
                        .fold(0, |all, byte| all << 8 | u32::from(*byte))
                }
            };
            at += 1;
        }
    }

    #[test]
    fn a_frame_passes_only_if_every_check_finds_one_of_its_values() {
        let checks: [Check<'_>; 4] = [
            (LD_WORD, AD_INTERFACE, &[7]),
            (LD_BYTE, AD_PACKET_TYPE, &FOR_US),
            (LD_HALF, 0, &[0x0102]),
            (LD_BYTE, 2, &[8, 9]),
        ];
        let table: [(&str, &[u8], u32, u32, bool); 9] = [
            ("first value", &[1, 2, 8], 0, 7, true),
            ("last value", &[1, 2, 9], 2, 7, true),
            ("other station", &[1, 2, 8], 3, 7, false),
            ("outgoing", &[1, 2, 8], 4, 7, false),
            ("VLAN on top", &[1, 2, 8], 0, 8, false),
            ("wrong half", &[1, 3, 8], 0, 7, false),
            ("wrong byte", &[1, 2, 10], 0, 7, false),
            ("too short", &[1, 2], 0, 7, false),
            ("empty", &[], 0, 7, false),
        ];
        for (name, frame, packet_type, interface, expected) in table {
            assert_eq!(
                passes(&checks, frame, packet_type, interface),
                expected,
                "{name}"
            );
        }
    }
}

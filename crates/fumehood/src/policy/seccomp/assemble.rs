//! Lays out instructions, the last one first.
//!
//! Classic BPF only jumps forward, so that whoever writes a program from its end knows every
//! distance at once. A jump that tests skips at most 255 instructions; what is farther is brought
//! near by a copy, if it is a return, or by a jump without a test, which skips any distance.

use std::collections::HashMap;

use super::Action;
use super::program::{Insn, op};

/// An instruction that is laid out: how many follow it.
pub(super) type Place = usize;

/// A program in the making.
#[derive(Default)]
pub(super) struct Assembler {
    /// From the last instruction to the first.
    code: Vec<Insn>,
    /// Where each answer was last laid out.
    returns: HashMap<Action, Place>,
}

impl Assembler {
    /// The instructions in the order of execution.
    pub(super) fn finish(mut self) -> Vec<Insn> {
        self.code.reverse();
        self.code
    }

    /// Answers.
    pub(super) fn answer(&mut self, action: Action) -> Place {
        match self.returns.get(&action) {
            Some(place) => *place,
            None => self.answer_here(action),
        }
    }

    fn answer_here(&mut self, action: Action) -> Place {
        let place = self.push(op::RETURN, 0, 0, action.to_return());
        self.returns.insert(action, place);
        place
    }

    /// Does something with the word at hand, or loads one, and goes on at `next`.
    pub(super) fn then(&mut self, code: u16, k: u32, next: Place) -> Place {
        if next + 1 != self.code.len() {
            self.jump(next);
        }
        self.push(code, 0, 0, k)
    }

    /// Goes on at `yes` if the comparison of the word at hand with `k` holds, else at `no`.
    pub(super) fn branch(&mut self, code: u16, k: u32, yes: Place, no: Place) -> Place {
        if yes == no {
            return yes;
        }
        // The second call may put one instruction between `yes` and the branch.
        let yes = self.near(yes, 1);
        let no = self.near(no, 0);
        let (jt, jf) = (self.skip(yes), self.skip(no));
        self.push(code, jt, jf, k)
    }

    /// `place`, or one that leads there and is within reach although `room` more instructions
    /// come between.
    fn near(&mut self, place: Place, room: usize) -> Place {
        if self.distance(place) + room <= usize::from(u8::MAX) {
            return place;
        }
        let target = self.code[place];
        if target.code == op::RETURN {
            let action = Action::from_return(target.k);
            match self.returns.get(&action) {
                Some(copy) if self.distance(*copy) + room <= usize::from(u8::MAX) => *copy,
                _ => self.answer_here(action),
            }
        } else {
            self.jump(place)
        }
    }

    fn jump(&mut self, place: Place) -> Place {
        let distance = u32::try_from(self.distance(place)).unwrap_or(u32::MAX);
        self.push(op::JUMP, 0, 0, distance)
    }

    /// Instructions between the one that would be laid out now and `place`.
    fn distance(&self, place: Place) -> usize {
        self.code.len() - 1 - place
    }

    fn skip(&self, place: Place) -> u8 {
        u8::try_from(self.distance(place)).expect("near() keeps a place within reach")
    }

    fn push(&mut self, code: u16, jt: u8, jf: u8, k: u32) -> Place {
        self.code.push(Insn { code, jt, jf, k });
        self.code.len() - 1
    }
}

//! From a profile to a filter.
//!
//! The kernel walks a new filter once for every system call it has, to learn which calls are
//! always allowed. What installing costs is therefore the depth of the filter, not its length,
//! and the numbers are laid out as a search tree whose paths are short where many numbers share
//! them. Neighbouring numbers with the same answer are one range.

use std::collections::HashMap;

use super::assemble::{Assembler, Place};
use super::profile::{Condition, Profile, Test};
use super::program::{Program, offset, op};
use super::resolve::{Call, Clause, Policy, Target};
use super::{Action, Arch, Error};

/// Compiles a profile for a target.
///
/// # Errors
///
/// The filter would be longer than the kernel takes.
pub fn compile(profile: &Profile, target: &Target) -> Result<Program, Error> {
    let policy = Policy::resolve(profile, target);
    let insns = Compiler::default().filter(&ranges(&policy, target.arch), target.arch);
    if insns.len() > Program::MAX_LEN {
        return Err(Error::TooLong { length: insns.len() });
    }
    Ok(Program { insns, flags: profile.flags })
}

/// What happens to a system call, in its shortest form: equal answers are equal values.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Answer {
    pub(super) clauses: Vec<Clause>,
    pub(super) otherwise: Action,
}

impl Answer {
    pub(super) fn always(action: Action) -> Self {
        Self { clauses: Vec::new(), otherwise: action }
    }

    pub(super) fn of(call: &Call, default: Action) -> Self {
        let otherwise = call.otherwise(default);
        let mut clauses = call.clauses.clone();
        while clauses.last().is_some_and(|clause| clause.action == otherwise) {
            clauses.pop();
        }
        Self { clauses, otherwise }
    }
}

/// Numbers from `start` up to the next range's start.
struct Range {
    start: u32,
    answer: Answer,
}

/// The policy as ranges that cover all numbers, no two neighbours alike.
fn ranges(policy: &Policy, arch: Arch) -> Vec<Range> {
    let mut ranges = Ranges(vec![Range { start: 0, answer: Answer::always(policy.default) }]);
    for (&number, call) in &policy.calls {
        ranges.put(number, Answer::of(call, policy.default));
        ranges.put(number + 1, Answer::always(policy.default));
    }
    if let Some(start) = arch.foreign_numbers() {
        ranges.put(start, Answer::always(Action::ENOSYS));
    }
    ranges.0
}

struct Ranges(Vec<Range>);

impl Ranges {
    /// Gives all numbers from `start` an answer; `start` never falls.
    fn put(&mut self, start: u32, answer: Answer) {
        self.0.pop_if(|last| last.start == start);
        if self.0.last().is_none_or(|last| last.answer != answer) {
            self.0.push(Range { start, answer });
        }
    }
}

#[derive(Default)]
struct Compiler {
    assembler: Assembler,
    /// Answers that are laid out already, to be shared.
    answers: HashMap<Answer, Place>,
}

impl Compiler {
    fn filter(mut self, ranges: &[Range], arch: Arch) -> Vec<super::Insn> {
        let tree = self.tree(ranges);
        let number = self.assembler.then(op::LOAD, offset::NUMBER, tree);
        let foreign = self.assembler.answer(Action::ENOSYS);
        let checked = self.assembler.branch(op::EQUAL, arch.audit(), number, foreign);
        self.assembler.then(op::LOAD, offset::ARCH, checked);
        self.assembler.finish()
    }

    fn tree(&mut self, ranges: &[Range]) -> Place {
        match ranges {
            [] => unreachable!("ranges cover all numbers"),
            [only] => self.answer(&only.answer),
            // One number apart from its surroundings takes one comparison instead of two.
            [before, one, after]
                if before.answer == after.answer && after.start - one.start == 1 =>
            {
                let apart = self.answer(&one.answer);
                let around = self.answer(&before.answer);
                self.assembler.branch(op::EQUAL, one.start, apart, around)
            }
            _ => {
                let (low, high) = ranges.split_at(middle(ranges));
                let (start, high) = (high[0].start, self.tree(high));
                let low = self.tree(low);
                self.assembler.branch(op::AT_LEAST, start, high, low)
            }
        }
    }

    fn answer(&mut self, answer: &Answer) -> Place {
        if answer.clauses.is_empty() {
            return self.assembler.answer(answer.otherwise);
        }
        if let Some(place) = self.answers.get(answer) {
            return *place;
        }
        let mut place = self.assembler.answer(answer.otherwise);
        for clause in answer.clauses.iter().rev() {
            let mut holds = self.assembler.answer(clause.action);
            for condition in clause.conditions.iter().rev() {
                holds = self.condition(*condition, holds, place);
            }
            place = holds;
        }
        self.answers.insert(answer.clone(), place);
        place
    }

    fn condition(&mut self, condition: Condition, yes: Place, no: Place) -> Place {
        let index = condition.index;
        match condition.test {
            Test::Eq(value) => self.masked(index, (u64::MAX, value), yes, no),
            Test::Ne(value) => self.masked(index, (u64::MAX, value), no, yes),
            Test::Masked { mask, equals } => self.masked(index, (mask, equals), yes, no),
            Test::Gt(value) => self.ordered(index, (op::GREATER, value), yes, no),
            Test::Ge(value) => self.ordered(index, (op::AT_LEAST, value), yes, no),
            Test::Le(value) => self.ordered(index, (op::GREATER, value), no, yes),
            Test::Lt(value) => self.ordered(index, (op::AT_LEAST, value), no, yes),
        }
    }

    /// Are the argument's bits under the mask equal to the second number?
    fn masked(&mut self, index: u8, masked: (u64, u64), yes: Place, no: Place) -> Place {
        let (mask, equals) = (halves(masked.0), halves(masked.1));
        let (high, low) = ((mask.0, equals.0), (mask.1, equals.1));
        let yes = self.masked_word(offset::low(index), low, yes, no);
        self.masked_word(offset::high(index), high, yes, no)
    }

    fn masked_word(&mut self, at: u32, (mask, equals): (u32, u32), yes: Place, no: Place) -> Place {
        let test = match (mask, equals) {
            (0, _) => return yes,
            (u32::MAX, _) => self.assembler.branch(op::EQUAL, equals, yes, no),
            (_, 0) => self.assembler.branch(op::ANY_BIT, mask, no, yes),
            _ => {
                let test = self.assembler.branch(op::EQUAL, equals, yes, no);
                self.assembler.then(op::AND, mask, test)
            }
        };
        self.assembler.then(op::LOAD, at, test)
    }

    /// Is the argument greater than, or at least, the number?
    fn ordered(&mut self, index: u8, (code, value): (u16, u64), yes: Place, no: Place) -> Place {
        let (high, low) = halves(value);
        let test = self.assembler.branch(code, low, yes, no);
        let lower = self.assembler.then(op::LOAD, offset::low(index), test);
        let same = self.assembler.branch(op::EQUAL, high, lower, no);
        let upper = self.assembler.branch(op::GREATER, high, yes, same);
        self.assembler.then(op::LOAD, offset::high(index), upper)
    }
}

/// Where to cut ranges in two, so that each part holds about as many numbers that the kernel has.
fn middle(ranges: &[Range]) -> usize {
    let [first, .., last] = ranges else { unreachable!("only two ranges or more are cut") };
    let half = first.start.midpoint(last.start.min(Arch::NUMBERS));
    let cut = ranges.partition_point(|range| range.start <= half);
    cut.clamp(1, ranges.len() - 1)
}

/// The high and the low half.
fn halves(value: u64) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = value.to_be_bytes();
    (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]))
}

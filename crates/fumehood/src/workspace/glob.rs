//! Globs over bytes: names are whatever the kernel takes, UTF-8 or not.

use std::fmt;

/// A path with wildcards, name by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Glob(Vec<Part>);

/// One part of a glob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Exactly this name.
    Literal(Vec<u8>),
    /// A name that fits.
    Pattern(Vec<Token>),
    /// `**`: any number of directories, none included.
    Depth,
}

/// What stands for characters of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    Byte(u8),
    /// `?`
    Any,
    /// `*`
    Many,
    /// `[a-z]`, or `[!a-z]` for all others.
    Class {
        ranges: Vec<(u8, u8)>,
        negated: bool,
    },
}

/// Why a text is no glob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadGlob {
    OpenClass,
    LoneBackslash,
}

impl fmt::Display for BadGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OpenClass => "has a [ without its ]; write \\[ for the character",
            Self::LoneBackslash => "ends with a backslash; write \\\\ for the character",
        })
    }
}

impl Glob {
    /// Reads a glob; empty names and `.` are left out.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, BadGlob> {
        let names = text.split(|&byte| byte == b'/');
        let names = names.filter(|name| !name.is_empty() && *name != b".");
        let mut parts: Vec<Part> = names.map(Part::parse).collect::<Result<_, _>>()?;
        // Two in a row say nothing more than one.
        parts.dedup_by(|next, previous| *next == Part::Depth && *previous == Part::Depth);
        Ok(Self(parts))
    }

    /// Puts names in front, exactly as they are.
    pub(crate) fn below(mut self, names: impl Iterator<Item = Vec<u8>>) -> Self {
        self.0.splice(0..0, names.map(Part::Literal));
        self
    }

    /// Lets it begin in any directory.
    #[cfg(feature = "export")]
    pub(crate) fn anywhere(mut self) -> Self {
        self.0.insert(0, Part::Depth);
        self
    }

    /// Adds a part.
    #[cfg(feature = "export")]
    pub(crate) fn then(mut self, part: Part) -> Self {
        self.0.push(part);
        self
    }

    pub(crate) fn parts(&self) -> &[Part] {
        &self.0
    }

    /// Whether the whole of a relative path fits.
    pub(crate) fn fits(&self, path: &[u8]) -> bool {
        let names: Vec<_> = path.split(|&byte| byte == b'/').collect();
        fits(&self.0, &names)
    }
}

fn fits(parts: &[Part], names: &[&[u8]]) -> bool {
    // For each part, the numbers of names that the parts before it can have taken: a table rather
    // than a search, so that a glob with many ** takes no longer.
    let mut reached = vec![false; names.len() + 1];
    reached[0] = true;
    for part in parts {
        let mut next = vec![false; names.len() + 1];
        for taken in 0..=names.len() {
            if *part == Part::Depth {
                next[taken] = reached[taken] || (taken > 0 && next[taken - 1]);
            } else if taken > 0 {
                next[taken] = reached[taken - 1] && part.fits(names[taken - 1]);
            }
        }
        reached = next;
    }
    reached[names.len()]
}

impl Part {
    fn parse(text: &[u8]) -> Result<Self, BadGlob> {
        if text == b"**" {
            return Ok(Self::Depth);
        }
        let tokens = tokens(text)?;
        let literal: Option<Vec<u8>> = tokens
            .iter()
            .map(|token| if let Token::Byte(byte) = token { Some(*byte) } else { None })
            .collect();
        Ok(literal.map_or(Self::Pattern(tokens), Self::Literal))
    }

    /// Whether one name fits.
    pub(crate) fn fits(&self, name: &[u8]) -> bool {
        match self {
            Self::Literal(literal) => literal == name,
            Self::Pattern(tokens) => tokens_fit(tokens, name),
            Self::Depth => true,
        }
    }
}

fn tokens(mut text: &[u8]) -> Result<Vec<Token>, BadGlob> {
    let mut tokens = Vec::new();
    while let Some((&first, rest)) = text.split_first() {
        text = rest;
        tokens.push(match first {
            b'*' => Token::Many,
            b'?' => Token::Any,
            b'\\' => {
                let (&escaped, rest) = rest.split_first().ok_or(BadGlob::LoneBackslash)?;
                text = rest;
                Token::Byte(escaped)
            }
            b'[' => {
                let (class, rest) = class(rest)?;
                text = rest;
                class
            }
            byte => Token::Byte(byte),
        });
        // Two stars in a row say nothing more than one.
        if tokens.ends_with(&[Token::Many, Token::Many]) {
            tokens.pop();
        }
    }
    Ok(tokens)
}

/// Reads a class after its bracket; a `]` that comes first stands for itself (`glob(7)`).
fn class(text: &[u8]) -> Result<(Token, &[u8]), BadGlob> {
    let negated = matches!(text.first(), Some(b'!' | b'^'));
    let mut rest = text.get(usize::from(negated)..).unwrap_or(&[]);
    let mut ranges = Vec::new();
    loop {
        rest = match *rest {
            [b']', ref after @ ..] if !ranges.is_empty() => {
                return Ok((Token::Class { ranges, negated }, after));
            }
            [low, b'-', high, ref after @ ..] if high != b']' => {
                ranges.push((low, high));
                after
            }
            [byte, ref after @ ..] => {
                ranges.push((byte, byte));
                after
            }
            [] => return Err(BadGlob::OpenClass),
        };
    }
}

impl Token {
    fn fits(&self, byte: u8) -> bool {
        match self {
            Self::Byte(own) => *own == byte,
            Self::Any | Self::Many => true,
            Self::Class { ranges, negated } => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&byte)) != *negated
            }
        }
    }
}

/// Goes back to the last star only, which is enough and keeps the time at the product of the
/// lengths.
fn tokens_fit(tokens: &[Token], name: &[u8]) -> bool {
    let (mut token, mut at) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while let Some(&byte) = name.get(at) {
        match tokens.get(token) {
            Some(Token::Many) => {
                star = Some((token, at));
                token += 1;
            }
            Some(one) if one.fits(byte) => {
                token += 1;
                at += 1;
            }
            _ => {
                let Some((many, from)) = star else { return false };
                star = Some((many, from + 1));
                (token, at) = (many + 1, from + 1);
            }
        }
    }
    tokens.get(token..).unwrap_or(&[]).iter().all(|token| *token == Token::Many)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(glob: &str, path: &str) -> bool {
        Glob::parse(glob.as_bytes()).unwrap().fits(path.as_bytes())
    }

    #[test]
    fn wildcards_stay_within_a_name_but_for_two_stars() {
        for (glob, path, expected) in [
            ("a", "a", true),
            ("a", "b", false),
            ("*.png", "x.png", true),
            ("*.png", ".png", true),
            ("*.png", "d/x.png", false),
            ("?", "ab", false),
            ("a*b*c", "aXXbYYc", true),
            ("a*b*c", "aXXbYY", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[]x]", "]", true),
            ("[a-]", "-", true),
            ("\\*", "*", true),
            ("\\*", "x", false),
            ("**", "a/b/c", true),
            ("**/x", "x", true),
            ("**/x", "a/b/x", true),
            ("**/x", "a/b/y", false),
            ("a/**/b", "a/b", true),
            ("a/**/b", "a/x/y/b", true),
            ("a/**", "b/c", false),
            ("./a//b/", "a/b", true),
        ] {
            assert_eq!(fits(glob, path), expected, "{glob} {path}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_fit_too() {
        assert!(Glob::parse(b"*").unwrap().fits(b"\xff\n"));
        assert!(Glob::parse(b"a?").unwrap().fits(b"a\xff"));
    }

    #[test]
    fn many_stars_take_no_time() {
        let name = "a".repeat(250);
        assert!(!fits(&("a*".repeat(60) + "b"), &name));
        let path = vec!["a"; 500].join("/");
        assert!(!fits(&("**/a/".repeat(40) + "b"), &path));
    }

    #[test]
    fn what_is_no_glob_is_refused() {
        assert_eq!(Glob::parse(b"[a").unwrap_err(), BadGlob::OpenClass);
        assert_eq!(Glob::parse(b"[]").unwrap_err(), BadGlob::OpenClass);
        assert_eq!(Glob::parse(b"a\\").unwrap_err(), BadGlob::LoneBackslash);
    }
}

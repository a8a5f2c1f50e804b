//! The confined side of Fumehood.
#![no_std]

//! PID 1 and supervisor.
//!
//! Two processes: the [`keeper`] stays whatever happens, the supervisor does the work and can be replaced at any moment, by
//! itself or by another program ([`upgrade`]).
//!
//! The supervisor is one thread with one loop ([`driver`]) that sleeps in epoll until something happens: a signal, a line
//! of a service's output, a request, a deadline. What to do about it is decided by the [`supervisor`], a state machine
//! that takes events with the time and answers with actions, and touches nothing itself.
//!
//! As PID 1 it first does the work of an early user space ([`boot`]), and at the end takes the machine down
//! ([`halt`]). It does not exit: not on a panic, not on a bad service file, not on a bad request.

pub mod alarm;
pub mod boot;
pub mod burst;
pub mod children;
pub mod client;
pub mod clock;
pub mod conf;
pub mod console;
pub mod container;
pub mod driver;
pub mod exits;
pub mod group;
pub mod halt;
pub mod holders;
pub mod journal;
pub mod json_toml;
pub mod keeper;
pub mod kexec;
pub mod life;
pub mod logs;
pub mod lossy;
pub mod machine;
pub mod note;
pub mod options;
pub mod power;
pub mod protocol;
pub mod proxy;
pub mod rescue;
pub mod services;
pub mod shell;
pub mod signals;
pub mod supervisor;
pub mod uevent;
pub mod upgrade;
pub mod user;
pub mod watchdog;

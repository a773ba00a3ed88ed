//! Decisions one by one, each on the events that lead to it.

use super::*;

fn response(queue: &mut Queue, start: u64, ack: u64) -> (Verdict, Vec<u64>) {
    let mut unanswered = Vec::new();
    (queue.response(start, Some(ack), &mut unanswered), unanswered)
}

#[test]
fn one_after_another() {
    let mut queue = Queue::default();
    for n in 0..3 {
        queue.request(n, n * 100, Some(n * 1_000), None);
        assert_eq!(response(&mut queue, n * 1_000, n * 100 + 100), (Verdict::Answers(n), vec![]));
    }
    assert!(!queue.is_pipelined());
}

#[test]
fn a_lost_response_does_not_shift_the_next() {
    let mut queue = Queue::default();
    queue.request(1, 0, Some(0), Some(0));
    queue.lost_responses(500, 1, 500, 0);
    queue.request(2, 100, Some(500), Some(100));
    assert_eq!(response(&mut queue, 500, 200), (Verdict::Answers(2), vec![1]));
}

#[test]
fn a_lost_request_leaves_its_response_alone() {
    let mut queue = Queue::default();
    queue.request(1, 0, Some(0), Some(0));
    assert_eq!(response(&mut queue, 0, 100).0, Verdict::Answers(1));
    queue.lost_requests(100, 1, 100);
    assert_eq!(response(&mut queue, 500, 200).0, Verdict::Alone);
    queue.request(3, 200, Some(900), Some(200));
    assert_eq!(response(&mut queue, 900, 300).0, Verdict::Answers(3));
    // Request and response before it lost: the old request must not get the new response.
    queue.request(4, 300, Some(1_400), Some(300));
    queue.lost_responses(1_900, 1, 500, 0);
    queue.lost_requests(400, 1, 100);
    assert_eq!(response(&mut queue, 1_900, 500).0, Verdict::Alone);
}

#[test]
fn pipelined_in_order() {
    let mut queue = Queue::default();
    for n in 0..4 {
        queue.request(n, n * 100, Some(0), Some(n * 100));
    }
    for n in 0..4 {
        assert_eq!(response(&mut queue, n * 300, 400).0, Verdict::Answers(n));
    }
    assert!(queue.is_pipelined());
}

#[test]
fn pipelined_with_a_lost_response_is_told_from_the_end() {
    let mut queue = Queue { takes_turns: true, ..Queue::default() };
    for n in 0..4 {
        queue.request(n, n * 100, Some(0), Some(n * 100));
    }
    assert_eq!(response(&mut queue, 0, 400).0, Verdict::Answers(0));
    // 300 bytes: the second's response, or it and others.
    queue.lost_responses(600, 1, 300, 0);
    assert_eq!(response(&mut queue, 600, 400).0, Verdict::Ambiguous);
    assert!(queue.would_open_turn(400, 1_200, None));
    let mut unanswered = Vec::new();
    assert_eq!(queue.tell_from_the_right(2, &mut unanswered), Some(vec![Some(2), Some(3)]));
    assert_eq!(unanswered, [1]);
}

#[test]
fn a_first_turn_whose_first_request_was_lost_is_not_shifted() {
    let mut queue = Queue::default();
    queue.lost_requests(0, 1, 100);
    queue.request(1, 100, Some(0), Some(100));
    queue.request(2, 200, Some(0), Some(200));
    assert_eq!(
        response(&mut queue, 0, 300).0,
        Verdict::Alone,
        "at least one request was lost: the first answer is its"
    );
}

/// Found with 5 % loss: the hole before a request held others of its own burst.
#[test]
fn behind_a_hole_a_turn_must_be_proven() {
    let mut queue = Queue { takes_turns: true, pipelined: true, ..Queue::default() };
    queue.request(1, 0, Some(0), None);
    assert_eq!(response(&mut queue, 0, 100).0, Verdict::Answers(1));
    // 100..200 is lost; what comes next was sent with it, or one turn later.
    queue.lost_requests(100, 1, 100);
    assert!(!queue.would_open_turn(200, 500, Some(100)), "the server had not read so far when it sent its last");
    assert!(queue.would_open_turn(200, 500, Some(200)), "it had: what was lost is answered");
    queue.request(3, 200, Some(500), Some(100));
    assert_eq!(response(&mut queue, 500, 300).0, Verdict::Alone, "at least one was asked before");
    assert_eq!(response(&mut queue, 800, 300).0, Verdict::Ambiguous);
}

/// Found with a window of three requests: each answer lets the next request go, so none opens a turn.
#[test]
fn windows_are_no_turns() {
    let mut queue = Queue::default();
    queue.request(0, 0, Some(0), None);
    queue.lost_requests(100, 1, 100);
    queue.request(2, 200, Some(0), None);
    assert_eq!(response(&mut queue, 0, 300).0, Verdict::Answers(0));
    queue.request(3, 300, Some(500), Some(300));
    assert!(queue.overlaps(), "two waited when the client went on");
    assert_ne!(response(&mut queue, 500, 400).0, Verdict::Answers(3));
}

#[test]
fn a_burst_that_is_answered_whole_shows_turns() {
    let mut queue = Queue { pipelined: true, lossy: true, ..Queue::default() };
    queue.lost_responses(500, 1, 300, 0);
    for (n, turns) in [(0, false), (1, true), (2, true)] {
        assert_eq!(queue.would_open_turn(n * 200, 500 + n * 600, None), turns, "turn {n}");
        for start in [n * 200, n * 200 + 100] {
            queue.request(start, start, Some(500 + n * 600), None);
        }
        for start in [500 + n * 600, 800 + n * 600] {
            queue.note_response(start);
            response(&mut queue, start, n * 200 + 200);
        }
    }
}

#[test]
fn more_answers_than_questions_are_not_believed() {
    let mut queue = Queue::default();
    queue.request(0, 0, Some(0), Some(0));
    queue.lost_responses(600, 1, 600, 0);
    assert_eq!(queue.tell_from_the_right(1, &mut Vec::new()), None);
}

#[test]
fn answers_before_anything_was_asked_stay_alone() {
    let mut queue = Queue::default();
    queue.request(1, 100, Some(0), Some(100));
    assert_eq!(response(&mut queue, 0, 100).0, Verdict::Alone, "a 408 sent before the request came");
    assert_eq!(response(&mut queue, 50, 200).0, Verdict::Answers(1));
}

"""The page of a report: verdicts, leaderboards, charts and pictures in one file that needs no network."""

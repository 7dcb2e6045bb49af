-- What came from a queue and could not become an event, as it came, and why. digest: SHA-256 of what it is and
-- where from, so that a message that is delivered again is set aside once. position: of the event within its
-- message; null: the message as a whole. event_id: the id that the event has if it names none.
CREATE TABLE IF NOT EXISTS poison (
  poison BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
  digest BINARY(32) NOT NULL,
  origin VARBINARY(255) NOT NULL,
  message_id VARBINARY(255) NULL,
  position INT UNSIGNED NULL,
  event_id VARBINARY(255) NULL,
  body MEDIUMBLOB NOT NULL,
  reason VARCHAR(500) NOT NULL,
  set_aside_at DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
  PRIMARY KEY (poison),
  UNIQUE KEY poison_by_digest (digest)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

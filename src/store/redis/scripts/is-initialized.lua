-- KEYS: meta. Answers false for a data set that is not born, else the mark that changes with every retirement.
return redis.call('HGET', KEYS[1], 'mark')

-- Claims on shared budgets. KEYS[1] is the prefix of every key, ARGV[1] what to do, ARGV[2]
-- its JSON. Amounts are decimal text: a number here is exact only to 2^53, so sums are made
-- of two parts, whole USD and nano.
local P = KEYS[1]
local verb, said = ARGV[1], cjson.decode(ARGV[2])
local UNIT, RIPE_MS, WANTED_MS = 1000000000, 2000, 2000

local function num(text)
  local n = string.len(text)
  if n <= 9 then return {0, tonumber(text)} end
  return {tonumber(string.sub(text, 1, n - 9)), tonumber(string.sub(text, n - 8))}
end
local function add(a, b)
  local lo = a[2] + b[2]
  local over = lo >= UNIT and 1 or 0
  return {a[1] + b[1] + over, lo - over * UNIT}
end
local function sub(a, b)
  local lo = a[2] - b[2]
  local under = lo < 0 and 1 or 0
  return {a[1] - b[1] - under, lo + under * UNIT}
end
local function text(a)
  if a[1] == 0 then return string.format('%.0f', a[2]) end
  return string.format('%.0f%09.0f', a[1], a[2])
end
local function about(a) return a[1] * UNIT + a[2] end

local function pairs_of(key)
  local flat, found = redis.call('HGETALL', key), {}
  for i = 1, #flat, 2 do found[flat[i]] = flat[i + 1] end
  return found
end
local function claims_key(ask) return P .. ':claims:' .. ask.budget .. ':' .. ask.start end
local function base_key(budget) return P .. ':base:' .. budget end
local function wanted_key(ask) return P .. ':wanted:' .. ask.budget .. ':' .. ask.start end

local function others_of(ask)
  local claimed, spent, held = {0, 0}, {0, 0}, {0, 0}
  for member, row in pairs(pairs_of(claims_key(ask))) do
    if member ~= said.member then
      local c, s, h = string.match(row, '^(%d+) (%d+) (%d+)$')
      claimed, spent, held = add(claimed, num(c)), add(spent, num(s)), add(held, num(h))
    end
  end
  local since, last = tonumber(ask.since), tonumber(ask.last)
  for field, amount in pairs(pairs_of(base_key(ask.budget))) do
    local bucket = tonumber(string.match(field, '|(%d+)$'))
    if bucket >= since and bucket <= last then
      claimed, spent = add(claimed, num(amount)), add(spent, num(amount))
    end
  end
  local wanted = redis.call('EXISTS', wanted_key(ask)) == 1
  return {claimed = claimed, spent = spent, held = held, wanted = wanted}
end

-- The rule of billing/shared.py `cut`; nil where the ask does not fit.
local function cut(ask, others, members)
  local need, limit = num(ask.need), num(ask.limit)
  local spare = sub(sub(limit, others.claimed), need)
  if spare[1] < 0 then return nil end
  if others.wanted or about(spare) * 100 < about(limit) then return ask.need end
  local parts = about(spare) * 10 >= about(limit) and 2 or 16
  local extra = math.floor(about(spare) / (parts * math.max(members, 1)))
  return text(add(need, num(string.format('%.0f', extra))))
end

local function set(ask, claim)
  local key, owned = claims_key(ask), P .. ':owned:' .. said.member
  if claim == '0' and ask.spent == '0' and ask.held == '0' then
    redis.call('HDEL', key, said.member)
    redis.call('SREM', owned, key)
  else
    redis.call('HSET', key, said.member, claim .. ' ' .. ask.spent .. ' ' .. ask.held)
    redis.call('SADD', owned, key)
  end
end

local function add_base(ledger, row)
  local key, field = base_key(row.budget), ledger .. '|' .. row.bucket
  local before = redis.call('HGET', key, field)
  local sum = before and add(num(before), num(row.amount)) or num(row.amount)
  redis.call('HSET', key, field, text(sum))
  redis.call('SADD', P .. ':bases', key)
end

local function told(asks, others, claims)
  local rows = {}
  for i = 1, #asks do
    local o = others[i]
    rows[i] = {text(o.claimed), text(o.spent), text(o.held), o.wanted and '1' or '0',
               claims and claims[i] or ''}
  end
  return cjson.encode({known = true, fits = claims ~= nil, rows = rows})
end

local function knows()
  local ledger = redis.call('HGET', P .. ':members', said.member)
  return ledger and redis.call('EXISTS', P .. ':covered:' .. ledger) == 1
end

if verb == 'join' then
  redis.call('HSET', P .. ':members', said.member, said.ledger)
  redis.call('HSET', P .. ':seen', said.member, said.at)
  redis.call('SETNX', P .. ':born', said.at)
  return '1'
elseif verb == 'claim' then
  if not knows() then return cjson.encode({known = false, fits = false, rows = {}}) end
  local members = redis.call('HLEN', P .. ':members')
  local others, claims, fits = {}, {}, true
  for i, ask in ipairs(said.asks) do
    others[i] = others_of(ask)
    claims[i] = cut(ask, others[i], members)
    if not claims[i] then
      fits = false
      redis.call('SET', wanted_key(ask), said.at, 'PX', WANTED_MS)
    end
  end
  if not fits then return told(said.asks, others, nil) end
  for i, ask in ipairs(said.asks) do set(ask, claims[i]) end
  return told(said.asks, others, claims)
elseif verb == 'report' then
  if redis.call('HEXISTS', P .. ':members', said.member) == 0 or not (said.joining or knows()) then
    return cjson.encode({known = false, fits = false, rows = {}})
  end
  redis.call('HSET', P .. ':seen', said.member, said.at)
  local others, claims = {}, {}
  for i, ask in ipairs(said.asks) do
    set(ask, ask.need)
    others[i], claims[i] = others_of(ask), ask.need
  end
  return told(said.asks, others, claims)
elseif verb == 'derive' then
  if tonumber(said.at) < tonumber(redis.call('GET', P .. ':born') or said.at) + RIPE_MS then
    return '0'
  end
  local alive, count = {}, 0
  for _, member in ipairs(said.alive) do alive[member], count = true, count + 1 end
  for member, ledger in pairs(pairs_of(P .. ':members')) do
    if ledger == said.ledger then
      if not alive[member] then return '0' end
      count = count - 1
    end
  end
  if count ~= 0 then return '0' end
  local names = {}
  for _, name in ipairs(said.names) do names[name] = true end
  local prefix = said.ledger .. '|'
  for _, key in ipairs(redis.call('SMEMBERS', P .. ':bases')) do
    local budget = string.sub(key, string.len(base_key('')) + 1)
    if names[string.match(budget, '^[^\t]*')] then
      for _, field in ipairs(redis.call('HKEYS', key)) do
        if string.sub(field, 1, string.len(prefix)) == prefix then
          redis.call('HDEL', key, field)
        end
      end
    end
  end
  for _, row in ipairs(said.base) do add_base(said.ledger, row) end
  local covered = P .. ':covered:' .. said.ledger
  redis.call('SADD', covered, '')
  for _, name in ipairs(said.names) do redis.call('SADD', covered, name) end
  return '1'
elseif verb == 'fold' then
  local ledger = redis.call('HGET', P .. ':members', said.member)
  if not ledger then return '0' end
  redis.call('HDEL', P .. ':members', said.member)
  redis.call('HDEL', P .. ':seen', said.member)
  local owned = P .. ':owned:' .. said.member
  for _, key in ipairs(redis.call('SMEMBERS', owned)) do
    redis.call('HDEL', key, said.member)
  end
  redis.call('DEL', owned)
  for _, row in ipairs(said.base) do add_base(ledger, row) end
  return '1'
end
return redis.error_reply('unknown verb')

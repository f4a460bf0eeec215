-- The action "http-request lua.sojourn REQUIRE" of haproxy.cfg asks sojournd whether a
-- request may pass, and who sent it. If it may, the variable txn.sojourn_passes is true. If
-- it may not, the visitor gets sojournd's answer. If there is no answer, nothing is done.

local checks = "http://127.0.0.1:7082/check/shop/redirect/"
local cookies = { ["__Host-shop-session"] = true, ["__Host-shop-visitor"] = true }
local proofs = "^__Host%-shop%-session%-bound%-%w+$"
local timeout = 2500 -- milliseconds for an answer; HAProxy tries up to four times

-- What the check needs of the visitor's headers.
local asked = { "cookie", "user-agent", "accept", "sec-fetch-mode", "x-requested-with" }

-- What the application gets of the check's headers.
local given = {
	"sojourn-subject",
	"sojourn-session",
	"sojourn-level",
	--#+ "x-user-email",
}

-- What the visitor gets of the headers of a refusal.
local told = { "location", "cache-control", "content-type", "retry-after", "secure-session-challenge", "www-authenticate", "x-content-type-options" }

-- What the visitor gets of the headers of a check that passes: haproxy.cfg adds these
-- variables to the application's answer.
local added = {
	["txn.sojourn_cookie"] = "set-cookie",
	["txn.sojourn_challenge"] = "secure-session-challenge",
	["txn.sojourn_registration"] = "secure-session-registration",
}

-- HAProxy's lists begin at 0.
local function list(values)
	local copy = {}
	for _, value in pairs(values or {}) do
		copy[#copy + 1] = value
	end
	return copy
end

local function refuse(txn, answer)
	local reply = txn:reply({ status = answer.status })
	for _, name in ipairs(told) do
		for _, value in ipairs(list(answer.headers[name])) do
			reply:add_header(name, value)
		end
	end
	if txn.f:method() ~= "HEAD" then
		reply:set_body(answer.body)
	end
	txn:done(reply)
end

-- The application gets the visitor's cookies without the session's, so it can't leak it.
local function withhold(txn, lines)
	txn.http:req_del_header("cookie")
	for _, line in ipairs(lines) do
		local kept = {}
		for pair in line:gmatch("[^;]+") do
			pair = pair:match("^%s*(.-)%s*$")
			local name = pair:match("^[^=]*"):match("^(.-)%s*$")
			if pair ~= "" and not cookies[name] and not name:match(proofs) then
				kept[#kept + 1] = pair
			end
		end
		if #kept > 0 then
			txn.http:req_add_header("cookie", table.concat(kept, "; "))
		end
	end
end

core.register_action("sojourn", { "http-req" }, function(txn, require)
	local visitor = txn.http:req_get_headers()
	local headers = {
		["x-forwarded-for"] = { txn.sf:src() },
		["x-forwarded-proto"] = { txn.f:ssl_fc() == 1 and "https" or "http" },
		["x-forwarded-host"] = { txn.sf:req_hdr("host") },
		["x-forwarded-method"] = { txn.f:method() },
		["x-forwarded-uri"] = { txn.sf:pathq() }, -- url would be absolute in HTTP/2
		["user-agent"] = { "" }, -- else HAProxy's
	}
	for _, name in ipairs(asked) do
		if visitor[name] then
			headers[name] = list(visitor[name])
		end
	end
	local answer = core.httpclient():get({ url = checks .. require, headers = headers, timeout = timeout })
	local status = answer and answer.status
	if status == 200 then
		txn:set_var("txn.sojourn_passes", true)
		for _, name in ipairs(given) do
			txn.http:req_set_header(name, list(answer.headers[name])[1] or "")
		end
		for variable, name in pairs(added) do
			local value = list(answer.headers[name])[1]
			if value then
				txn:set_var(variable, value)
			end
		end
		withhold(txn, headers.cookie or {}) -- leave this out if your application calls the API with the visitor's token
	elseif status == 302 or status == 401 or status == 403 then
		refuse(txn, answer)
	else
		txn:Warning("sojournd can't check a request: status " .. tostring(status))
	end
end, 1)

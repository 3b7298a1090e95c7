/* Signatures of S3 requests, against the examples that AWS publishes ("Signature Calculations for
 * the Authorization Header" and "Authenticating Requests: Using Query Parameters" in the Amazon S3 API
 * Reference).
 */
#include "sign_fixture.h"

/* Sign a canonical request that the test has written out. */
static const char *
sign_text(const char *canonical)
{
	static char hex[2 * SHA256_BYTES + 1];
	uint8_t hash[SHA256_BYTES], key[SHA256_BYTES];
	char text[512];

	sha256(canonical, strlen(canonical), hash);
	hex_text(hash, sizeof hash, hex);
	snprintf(text, sizeof text,
	    "AWS4-HMAC-SHA256\n" WHEN "\n20130524/us-east-1/s3/aws4_request\n%s", hex);
	signing_key(key);
	hmac_sha256(key, sizeof key, text, strlen(text), hash);
	hex_text(hash, sizeof hash, hex);
	return hex;
}

/* --- AWS's examples --- */

static struct request *
get_object(struct fake *f, const char *signature)
{
	begin(f, "GET", "/test.txt", "");
	header(f, "Host", "examplebucket.s3.amazonaws.com");
	header(f, "Range", "bytes=0-9");
	header(f, "x-amz-content-sha256", EMPTY_HASH);
	header(f, "x-amz-date", WHEN);
	authorize(f, "host;range;x-amz-content-sha256;x-amz-date", signature);
	return &f->r;
}

#define GET_OBJECT "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"

static void
aws_example_get_object(void **state)
{
	struct fake f;

	CHECK_STR(verdict(get_object(&f, GET_OBJECT)), "");
}

static void
aws_example_put_object(void **state)
{
	struct fake f;
	struct request *r = begin(&f, "PUT", "/test$file.text", "");

	header(&f, "Host", "examplebucket.s3.amazonaws.com");
	header(&f, "Date", "Fri, 24 May 2013 00:00:00 GMT");
	header(&f, "x-amz-date", WHEN);
	header(&f, "x-amz-storage-class", "REDUCED_REDUNDANCY");
	header(&f, "x-amz-content-sha256",
	    "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072");
	authorize(&f, "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
	    "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
	CHECK_STR(verdict(r), "");
	/* The same path, spelt otherwise. */
	r->path = "/test%24file.text";
	CHECK_STR(verdict(r), "");
	r->path = "/t%65st%24file%2etext";
	CHECK_STR(verdict(r), "");
	r->path = "/test%2524file.text";
	CHECK_STR(verdict(r), "SignatureDoesNotMatch");
}

static struct request *
get_with_query(struct fake *f, const char *query, const char *signature)
{
	begin(f, "GET", "/", query);
	header(f, "Host", "examplebucket.s3.amazonaws.com");
	header(f, "x-amz-date", WHEN);
	header(f, "x-amz-content-sha256", EMPTY_HASH);
	authorize(f, "host;x-amz-content-sha256;x-amz-date", signature);
	return &f->r;
}

#define LIST "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"

static void
aws_example_get_lifecycle(void **state)
{
	static const char signature[] =
	    "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543";
	struct fake f;

	CHECK_STR(verdict(get_with_query(&f, "lifecycle", signature)), "");
	CHECK_STR(verdict(get_with_query(&f, "lifecycle=", signature)), "");
	CHECK_STR(verdict(get_with_query(&f, "policy", signature)), "SignatureDoesNotMatch");
}

static void
aws_example_list_and_altered_queries(void **state)
{
	static const char *const altered[] = { "max-keys=3&prefix=J", "max-keys=2&prefix=K",
		"max-keys=2", "max-keys=2&prefix=J&x", "max-keys=2&prefix=J&prefix=J",
		"max-keys=2%26prefix=J", "max-keys=2&prefix=J=", "max-keys=2&prefix=J&=", "" };
	struct fake f;

	CHECK_STR(verdict(get_with_query(&f, "max-keys=2&prefix=J", LIST)), "");
	CHECK_STR(verdict(get_with_query(&f, "prefix=J&max-keys=2", LIST)), "");
	CHECK_STR(verdict(get_with_query(&f, "&prefix=%4a&&max%2Dkeys=2&", LIST)), "");
	for (size_t i = 0; i < ARRAY_LEN(altered); i++)
		CHECK_STR(verdict(get_with_query(&f, altered[i], LIST)), "SignatureDoesNotMatch");
}

#define PRESIGNED \
	"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2F" \
	"us-east-1%2Fs3%2Faws4_request&X-Amz-Date=" WHEN "&X-Amz-Expires=86400&" \
	"X-Amz-SignedHeaders=host&X-Amz-Signature=" \
	"aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"

static struct request *
presigned(struct fake *f, const char *query)
{
	begin(f, "GET", "/test.txt", query);
	header(f, "host", "examplebucket.s3.amazonaws.com");
	return &f->r;
}

static void
aws_example_presigned(void **state)
{
	const uint64_t day_ms = 86400000;
	struct fake f;
	struct sign_claim c;
	const char *code;

	CHECK_STR(verdict(presigned(&f, PRESIGNED)), "");
	CHECK_STR(verdict_at(presigned(&f, PRESIGNED), WHEN_MS + day_ms), "");
	CHECK_STR(verdict_at(&f.r, WHEN_MS + day_ms + 1), "AccessDenied");
	CHECK_STR(verdict_at(&f.r, WHEN_MS - 14 * MINUTE_MS), "");
	CHECK_STR(verdict_at(&f.r, WHEN_MS - 16 * MINUTE_MS), "AccessDenied");
	CHECK_STR(verdict(presigned(&f, PRESIGNED "&acl")), "SignatureDoesNotMatch");
	CHECK(sign_parse(presigned(&f, PRESIGNED), &c, &code, NULL) == 1);
	CHECK(c.is_presigned && c.expires_s == 86400 && c.payload == PAYLOAD_UNSIGNED);
	CHECK_STR(c.access_key, "AKIAIOSFODNN7EXAMPLE");
	CHECK_STR(c.signed_headers, "host");
	/* A header that could change what it does was not signed. */
	header(&f, "X-Amz-Copy-Source", "/other/key");
	CHECK_STR(verdict(&f.r), "AccessDenied");
}

static void
presigned_arguments_that_are_malformed_are_refused(void **state)
{
#define WITH(credential, date, expires, names, signature) \
	"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=" credential "&X-Amz-Date=" date \
	"&X-Amz-Expires=" expires "&X-Amz-SignedHeaders=" names "&X-Amz-Signature=" signature
	static const char *const queries[] = {
		"X-Amz-Signature=" NO_SIGNATURE,
		"X-Amz-Signature",
		WITH(CREDENTIAL, WHEN, "0", "host", NO_SIGNATURE),
		WITH(CREDENTIAL, WHEN, "604801", "host", NO_SIGNATURE),
		WITH(CREDENTIAL, WHEN, "-1", "host", NO_SIGNATURE),
		WITH(CREDENTIAL, WHEN, "", "host", NO_SIGNATURE),
		WITH(CREDENTIAL, WHEN, "18446744073709551617", "host", NO_SIGNATURE),
		WITH(CREDENTIAL, "20130524", "60", "host", NO_SIGNATURE),
		WITH(CREDENTIAL, "20131324T000000Z", "60", "host", NO_SIGNATURE),
		WITH(CREDENTIAL, WHEN "0", "60", "host", NO_SIGNATURE),
		WITH(CREDENTIAL, WHEN, "60", "", NO_SIGNATURE),
		WITH(CREDENTIAL, WHEN, "60", "Host", NO_SIGNATURE),
		WITH(CREDENTIAL, WHEN, "60", "host", NO_SIGNATURE "0"),
		WITH(CREDENTIAL, WHEN, "60", "host", "00"),
		WITH(CREDENTIAL "/", WHEN, "60", "host", NO_SIGNATURE),
		WITH("k/20130524/r/aws4_request", WHEN, "60", "host", NO_SIGNATURE),
		WITH("/20130524/r/s3/aws4_request", WHEN, "60", "host", NO_SIGNATURE),
		WITH("k%00/20130524/r/s3/aws4_request", WHEN, "60", "host", NO_SIGNATURE),
		WITH("k%0A/20130524/r/s3/aws4_request", WHEN, "60", "host", NO_SIGNATURE),
	};
	struct fake f;

	for (size_t i = 0; i < ARRAY_LEN(queries); i++)
		CHECK_STR(verdict(presigned(&f, queries[i])), "AuthorizationQueryParametersError");
	CHECK_STR(verdict(presigned(&f, WITH(CREDENTIAL, WHEN, "604800", "host", NO_SIGNATURE))),
	    "SignatureDoesNotMatch");
}

/* --- what is refused --- */

static void
a_wrong_signature_or_key_is_refused(void **state)
{
	char signature[] = GET_OBJECT;
	struct sign_claim c;
	struct fake f;
	uint8_t key[SHA256_BYTES];
	const char *code = NULL;
	struct err e;

	for (size_t i = 0; i < strlen(signature); i++) {
		char was = signature[i];

		signature[i] = was == '0' ? '1' : '0';
		CHECK_STR(verdict(get_object(&f, signature)), "SignatureDoesNotMatch");
		signature[i] = was;
	}
	CHECK(sign_parse(get_object(&f, signature), &c, &code, &e) == 1);
	signing_key(key);
	CHECK_OK(sign_check_request(&f.r, &c, key, WHEN_MS, &code, &e), &e);
	key[31] ^= 1;
	CHECK(sign_check_request(&f.r, &c, key, WHEN_MS, &code, &e) == -1);
	CHECK_STR(code, "SignatureDoesNotMatch");
	key[31] ^= 1;
	/* A scope of another day than the request's. */
	memcpy(c.date, "20130525", 8);
	CHECK(sign_check_request(&f.r, &c, key, WHEN_MS, &code, &e) == -1);
	CHECK_STR(code, "SignatureDoesNotMatch");
}

static void
a_header_of_the_hop_before_stands_for_itself_alone(void **state)
{
	struct fake f;

	/* Whoever has a signed request would have another one carried out. */
	for (int is_peer = 0; is_peer < 2; is_peer++) {
		get_object(&f, GET_OBJECT)->is_peer = is_peer;
		f.h[1][1] = "bytes=10-19";
		header(&f, "x-domicile-hop-Range", "bytes=0-9");
		CHECK_STR(verdict(&f.r), "SignatureDoesNotMatch");
	}
	begin(&f, "GET", "/", "");
	header(&f, "Host", "h");
	header(&f, "x-domicile-hop-Expect", "100-continue");
	header(&f, "x-amz-content-sha256", EMPTY_HASH);
	header(&f, "x-amz-date", WHEN);
	authorize(&f, "expect;host;x-amz-content-sha256;x-amz-date",
	    sign_text("GET\n/\n\nexpect:100-continue\nhost:h\nx-amz-content-sha256:" EMPTY_HASH
	              "\nx-amz-date:" WHEN
	              "\n\nexpect;host;x-amz-content-sha256;x-amz-date\n" EMPTY_HASH));
	CHECK_STR(verdict(&f.r), "SignatureDoesNotMatch");
	f.r.is_peer = true;
	CHECK_STR(verdict(&f.r), "");
}

static void
another_method_path_or_header_is_refused(void **state)
{
	struct fake f;

	get_object(&f, GET_OBJECT)->method = "HEAD";
	CHECK_STR(verdict(&f.r), "SignatureDoesNotMatch");
	get_object(&f, GET_OBJECT)->path = "/test.tx";
	CHECK_STR(verdict(&f.r), "SignatureDoesNotMatch");
	get_object(&f, GET_OBJECT)->path = "/./test.txt";
	CHECK_STR(verdict(&f.r), "SignatureDoesNotMatch");
	get_object(&f, GET_OBJECT)->query = "acl";
	CHECK_STR(verdict(&f.r), "SignatureDoesNotMatch");
	get_object(&f, GET_OBJECT);
	f.h[1][1] = "bytes=0-8";
	CHECK_STR(verdict(&f.r), "SignatureDoesNotMatch");
	get_object(&f, GET_OBJECT);
	header(&f, "range", "bytes=0-9");
	CHECK_STR(verdict(&f.r), "SignatureDoesNotMatch");
	get_object(&f, GET_OBJECT);
	f.h[2][1] = "UNSIGNED-PAYLOAD";
	CHECK_STR(verdict(&f.r), "SignatureDoesNotMatch");
	/* A signed header that did not come. */
	get_object(&f, GET_OBJECT);
	f.h[1][0] = "X-Range";
	CHECK_STR(verdict(&f.r), "SignatureDoesNotMatch");
}

static void
headers_that_matter_must_be_signed(void **state)
{
	struct fake f;

	get_object(&f, GET_OBJECT);
	header(&f, "User-Agent", "any");
	CHECK_STR(verdict(&f.r), "");
	header(&f, "X-AMZ-Meta-A", "b");
	CHECK_STR(verdict(&f.r), "AccessDenied");

	begin(&f, "GET", "/", "");
	header(&f, "Host", "h");
	header(&f, "x-amz-date", WHEN);
	header(&f, "x-amz-content-sha256", EMPTY_HASH);
	authorize(&f, "x-amz-content-sha256;x-amz-date",
	    sign_text("GET\n/\n\nx-amz-content-sha256:" EMPTY_HASH "\nx-amz-date:" WHEN
	              "\n\nx-amz-content-sha256;x-amz-date\n" EMPTY_HASH));
	CHECK_STR(verdict(&f.r), "AccessDenied");
}

static void
clocks_may_differ_by_fifteen_minutes(void **state)
{
	struct fake f;
	struct request *r = get_object(&f, GET_OBJECT);

	CHECK_STR(verdict_at(r, WHEN_MS + 15 * MINUTE_MS), "");
	CHECK_STR(verdict_at(r, WHEN_MS - 15 * MINUTE_MS), "");
	CHECK_STR(verdict_at(r, WHEN_MS + 15 * MINUTE_MS + 1), "RequestTimeTooSkewed");
	CHECK_STR(verdict_at(r, WHEN_MS - 15 * MINUTE_MS - 1), "RequestTimeTooSkewed");
	CHECK_STR(verdict_at(r, 0), "RequestTimeTooSkewed");
	CHECK_STR(verdict_at(r, UINT64_MAX), "RequestTimeTooSkewed");
}

static void
without_a_signature_a_request_is_anonymous(void **state)
{
	struct fake f;

	CHECK_STR(verdict(begin(&f, "GET", "/", "")), "anonymous");
	CHECK_STR(verdict(begin(&f, "GET", "/", "X-Amz-Date=1&a=X-Amz-Signature")), "anonymous");
}

struct bad_authorization {
	const char *text, *code;
};

static void
a_malformed_authorization_is_refused(void **state)
{
#define V4   "AWS4-HMAC-SHA256 "
#define REST ",SignedHeaders=host,Signature=" NO_SIGNATURE
	static const struct bad_authorization cases[] = {
		{ "AWS AKIAIOSFODNN7EXAMPLE:qgk2+6Sv9/oM7G3qLEjTH1a1l1g=", "InvalidRequest" },
		{ "Basic YTpi", "InvalidRequest" },
		{ "", "InvalidRequest" },
		{ "AWS4-HMAC-SHA256", "InvalidRequest" },
		{ "AWS4-HMAC-SHA512 Credential=" CREDENTIAL REST, "InvalidRequest" },
		{ V4, "AuthorizationHeaderMalformed" },
		{ V4 "Credential=" REST, "AuthorizationHeaderMalformed" },
		{ V4 "Credential=a/b" REST, "AuthorizationHeaderMalformed" },
		{ V4 "Credential=a/2013052/r/s3/aws4_request" REST,
		    "AuthorizationHeaderMalformed" },
		{ V4 "Credential=a/2013052x/r/s3/aws4_request" REST,
		    "AuthorizationHeaderMalformed" },
		{ V4 "Credential=a/20130524/r/s3/aws4" REST, "AuthorizationHeaderMalformed" },
		{ V4 "Credential=" CREDENTIAL, "AuthorizationHeaderMalformed" },
		{ V4 "Credential=" CREDENTIAL ",SignedHeaders=,Signature=" NO_SIGNATURE,
		    "AuthorizationHeaderMalformed" },
		{ V4 "Credential=" CREDENTIAL ",SignedHeaders=host;;a,Signature=" NO_SIGNATURE,
		    "AuthorizationHeaderMalformed" },
		{ V4 "Credential=" CREDENTIAL ",SignedHeaders=host;,Signature=" NO_SIGNATURE,
		    "AuthorizationHeaderMalformed" },
		{ V4 "Credential=" CREDENTIAL ",SignedHeaders=HOST,Signature=" NO_SIGNATURE,
		    "AuthorizationHeaderMalformed" },
		{ V4 "Credential=" CREDENTIAL ",SignedHeaders=host,Signature=0" NO_SIGNATURE,
		    "AuthorizationHeaderMalformed" },
		{ V4 "Credential=" CREDENTIAL ",SignedHeaders=host,Signature=xy",
		    "AuthorizationHeaderMalformed" },
		{ V4 "Credential=" CREDENTIAL ",Credential=" CREDENTIAL REST,
		    "AuthorizationHeaderMalformed" },
	};
	struct fake f;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		begin(&f, "GET", "/", "");
		header(&f, "host", "h");
		header(&f, "x-amz-date", WHEN);
		header(&f, "x-amz-content-sha256", EMPTY_HASH);
		header(&f, "authorization", cases[i].text);
		CHECK_STR(verdict(&f.r), cases[i].code);
	}
	begin(&f, "GET", "/", "Signature=a&AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&Expires=1");
	CHECK_STR(verdict(&f.r), "InvalidRequest");
	get_object(&f, GET_OBJECT)->query = PRESIGNED;
	CHECK_STR(verdict(&f.r), "InvalidArgument");
}

static void
what_the_header_form_needs_is_asked_for(void **state)
{
	struct fake f;

	get_object(&f, GET_OBJECT);
	f.h[3][0] = "x-date";
	CHECK_STR(verdict(&f.r), "AccessDenied");
	get_object(&f, GET_OBJECT);
	f.h[2][0] = "x-sha256";
	CHECK_STR(verdict(&f.r), "MissingSecurityHeader");
	get_object(&f, GET_OBJECT);
	f.h[2][1] = "e3b0";
	CHECK_STR(verdict(&f.r), "InvalidArgument");
	f.h[2][1] = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
	CHECK_STR(verdict(&f.r), "MissingContentLength");
	f.h[2][1] = "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD";
	CHECK_STR(verdict(&f.r), "NotImplemented");
}

/* --- spelling --- */

static void
a_date_header_serves_if_there_is_no_other(void **state)
{
	static const char *const dates[] = { "Fri, 24 May 2013 00:00:00 GMT", WHEN };
	char canonical[1024];
	struct fake f;

	for (size_t i = 0; i < ARRAY_LEN(dates); i++) {
		begin(&f, "GET", "/", "");
		header(&f, "Host", "h");
		header(&f, "Date", dates[i]);
		header(&f, "x-amz-content-sha256", "UNSIGNED-PAYLOAD");
		snprintf(canonical, sizeof canonical,
		    "GET\n/\n\ndate:%s\nhost:h\nx-amz-content-sha256:UNSIGNED-PAYLOAD\n\n"
		    "date;host;x-amz-content-sha256\nUNSIGNED-PAYLOAD",
		    dates[i]);
		authorize(&f, "date;host;x-amz-content-sha256", sign_text(canonical));
		CHECK_STR(verdict(&f.r), "");
	}
	f.h[1][1] = "yesterday";
	CHECK_STR(verdict(&f.r), "AccessDenied");
}

static void
values_are_trimmed_and_repeated_headers_joined(void **state)
{
	struct fake f;

	begin(&f, "PUT", "/b/k", "");
	header(&f, "Host", "h");
	header(&f, "X-Amz-Meta-A", "  one   two  \"a   b\" \t");
	header(&f, "x-amz-meta-b", "1");
	header(&f, "x-amz-date", WHEN);
	header(&f, "X-AMZ-META-B", "  2 ");
	header(&f, "x-amz-meta-c", "");
	header(&f, "x-amz-meta-d", NULL);
	header(&f, "x-amz-content-sha256", "UNSIGNED-PAYLOAD");
	authorize(&f,
	    "host;x-amz-content-sha256;x-amz-date;x-amz-meta-a;x-amz-meta-b;x-amz-meta-c;"
	    "x-amz-meta-d",
	    sign_text("PUT\n/b/k\n\nhost:h\nx-amz-content-sha256:UNSIGNED-PAYLOAD\nx-amz-date:" WHEN
	              "\nx-amz-meta-a:one two \"a b\"\nx-amz-meta-b:1,2\nx-amz-meta-c:\n"
	              "x-amz-meta-d:\n\nhost;x-amz-content-sha256;x-amz-date;x-amz-meta-a;"
	              "x-amz-meta-b;x-amz-meta-c;x-amz-meta-d\nUNSIGNED-PAYLOAD"));
	CHECK_STR(verdict(&f.r), "");
}

struct spelling {
	const char *path, *query, *canonical_path, *canonical_query;
};

static void
paths_and_arguments_have_one_spelling(void **state)
{
	static const struct spelling cases[] = {
		{ "/b/k", "", "/b/k", "" },
		{ "/", "", "/", "" },
		{ "", "", "/", "" },
		{ "/b//a/../k/.", "", "/b//a/../k/.", "" },
		{ "/b/a b+c", "", "/b/a%20b%2Bc", "" },
		{ "/b/a%20b%2bc%2F%7e", "", "/b/a%20b%2Bc/~", "" },
		{ "/b/%25%2525", "", "/b/%25%2525", "" },
		{ "/b/\xc3\xa9%c3%a9", "", "/b/%C3%A9%C3%A9", "" },
		{ "/b/%zz%4", "", "/b/%25zz%254", "" },
		{ "/b/%00", "", "/b/%00", "" },
		{ "/b", "b=2&a=1", "/b", "a=1&b=2" },
		{ "/b", "a=2&a=1&a", "/b", "a=&a=1&a=2" },
		{ "/b", "a-b=1&a=2&ab=3&a%3d=4", "/b", "a=2&a%3D=4&a-b=1&ab=3" },
		{ "/b", "prefix=a+b/c%20d%2B", "/b", "prefix=a%20b%2Fc%20d%2B" },
		{ "/b", "a=b=c&=x", "/b", "=x&a=b%3Dc" },
		{ "/b", "B=1&a=2&%41=3", "/b", "A=3&B=1&a=2" },
		{ "/b", "k=%c3%a9&k=%C3%A8", "/b", "k=%C3%A8&k=%C3%A9" },
		{ "/b",
		    "t=18&s=17&r=16&q=15&p=14&o=13&n=12&m=11&l=10&k=9&j=8&i=7&h=6&g=5&f=4&e=3"
		    "&d=2&c=1&b=0",
		    "/b",
		    "b=0&c=1&d=2&e=3&f=4&g=5&h=6&i=7&j=8&k=9&l=10&m=11&n=12&o=13&p=14&q=15"
		    "&r=16&s=17&t=18" },
	};
	char canonical[1024];
	struct fake f;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		begin(&f, "GET", cases[i].path, cases[i].query);
		header(&f, "Host", "h");
		header(&f, "x-amz-date", WHEN);
		header(&f, "x-amz-content-sha256", "UNSIGNED-PAYLOAD");
		snprintf(canonical, sizeof canonical,
		    "GET\n%s\n%s\nhost:h\nx-amz-content-sha256:UNSIGNED-PAYLOAD\nx-amz-date:" WHEN
		    "\n\nhost;x-amz-content-sha256;x-amz-date\nUNSIGNED-PAYLOAD",
		    cases[i].canonical_path, cases[i].canonical_query);
		authorize(&f, "host;x-amz-content-sha256;x-amz-date", sign_text(canonical));
		if (*verdict(&f.r))
			fail_msg("%s?%s: %s", cases[i].path, cases[i].query, verdict(&f.r));
	}
}

/* A path and a query of 16 KiB, all of it escapes when encoded, and 8,000 arguments. */
static void
long_paths_and_queries_work(void **state)
{
	enum { LONG = 16 << 10 };
	char path[LONG + 1], query[LONG + 1], *canonical = NULL;
	struct fake f;
	_cleanup_buf_ struct buf b = BUF_INIT(1 << 20);

	memset(path, '!', LONG);
	path[0] = '/', path[LONG] = '\0';
	for (size_t i = 0; i < LONG; i++)
		query[i] = "&b&a"[i % 4];
	query[LONG] = '\0';
	for (size_t i = 1; i < LONG; i++)
		buf_add_str(&b, "%21");
	buf_add_str(&b, "\n");
	for (size_t i = 0; i < LONG / 2; i++)
		buf_printf(&b, "%s%s", i ? "&" : "", i < LONG / 4 ? "a=" : "b=");
	CHECK(asprintf(&canonical,
	          "GET\n/%s\nhost:h\nx-amz-content-sha256:UNSIGNED-PAYLOAD\nx-amz-date:" WHEN
	          "\n\nhost;x-amz-content-sha256;x-amz-date\nUNSIGNED-PAYLOAD",
	          buf_str(&b)) > 0);
	begin(&f, "GET", path, query);
	header(&f, "Host", "h");
	header(&f, "x-amz-date", WHEN);
	header(&f, "x-amz-content-sha256", "UNSIGNED-PAYLOAD");
	authorize(&f, "host;x-amz-content-sha256;x-amz-date", sign_text(canonical));
	CHECK_STR(verdict(&f.r), "");
	free(canonical);
}

static void
too_many_headers_are_refused(void **state)
{
	struct fake f;

	get_object(&f, GET_OBJECT);
	while (f.n < 200)
		header(&f, "a", "b");
	CHECK_STR(verdict(&f.r), "");
	header(&f, "a", "b");
	CHECK_STR(verdict(&f.r), "InvalidRequest");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(aws_example_get_object),
		cmocka_unit_test(aws_example_put_object),
		cmocka_unit_test(aws_example_get_lifecycle),
		cmocka_unit_test(aws_example_list_and_altered_queries),
		cmocka_unit_test(aws_example_presigned),
		cmocka_unit_test(presigned_arguments_that_are_malformed_are_refused),
		cmocka_unit_test(a_wrong_signature_or_key_is_refused),
		cmocka_unit_test(a_header_of_the_hop_before_stands_for_itself_alone),
		cmocka_unit_test(another_method_path_or_header_is_refused),
		cmocka_unit_test(headers_that_matter_must_be_signed),
		cmocka_unit_test(clocks_may_differ_by_fifteen_minutes),
		cmocka_unit_test(without_a_signature_a_request_is_anonymous),
		cmocka_unit_test(a_malformed_authorization_is_refused),
		cmocka_unit_test(what_the_header_form_needs_is_asked_for),
		cmocka_unit_test(a_date_header_serves_if_there_is_no_other),
		cmocka_unit_test(values_are_trimmed_and_repeated_headers_joined),
		cmocka_unit_test(paths_and_arguments_have_one_spelling),
		cmocka_unit_test(long_paths_and_queries_work),
		cmocka_unit_test(too_many_headers_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

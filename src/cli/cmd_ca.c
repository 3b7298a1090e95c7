/* cmd_ca.c - `domicile ca init`: what all regions share. */
#include "cli/commands.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "directory/ca.h"

static const char regions_text[] =
    "# The regions of this installation and where accounts may live: the same file for every node.\n"
    "# `domicile region init` adds its section. After a change: kill -HUP each node.\n"
    "#\n"
    "# [region sg]\n"
    "# jurisdiction = SG                 # the country it lies in\n"
    "# s3 = https://sg.example.com:7400  # where its users go\n"
    "# peer = sg.example.com:7401        # where the other regions call it\n"
    "# stream = sg.example.com:7402      # where moves arrive\n"
    "# sign = <its sign.pub>             # what its certificates are checked with\n"
    "#\n"
    "# For each country, the regions where its accounts may live, in order of preference. Creating or\n"
    "# moving an account elsewhere is refused. Countries without a section follow [policy *].\n"
    "#\n"
    "# [policy IN]\n"
    "# regions = in-mum, sg\n"
    "# transit = proxy      # another region's node passes requests on to the home; or\n"
    "#                      # redirect: it answers 307, and no content passes through it\n";

int
cmd_ca_init(const struct args *a, struct err *e)
{
	const char *dir = arg_operand(a, 0), *name = arg_text(a, "name");
	char path[PATH_MAX];

	if (snprintf(path, sizeof(path), "%s/regions.conf", dir) >= (int)sizeof(path))
		return err_set(e, ERR_BAD, "a path of %zu bytes", strlen(dir));
	if (access(path, F_OK) == 0)
		return err_set(e, ERR_EXISTS, "%s is there already", path);
	if (fs_mkdir(dir, 0700, e) < 0 || ca_create(dir, name ? name : "domicile CA", e) < 0 ||
	    fs_write(path, regions_text, strlen(regions_text), 0644, e) < 0)
		return -1;
	fprintf(stderr,
	    "%s: the key of the CA (ca.key; keep it offline), its certificate, and regions.conf.\n"
	    "next: domicile region init DIR --region NAME --jurisdiction CC --ca %s --directory\n",
	    dir, dir);
	return 0;
}
